import exitHook from 'exit-hook'

exitHook(() => {})
