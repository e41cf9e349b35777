/** Says when it is closed. */
export const resource = (name) => ({ close: async () => console.log(`${name} closed`) })
