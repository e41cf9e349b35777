export function bundleSource(path: string): Promise<string>
export function sourceFile(specifier: string, dir: string): string
