export function h(...given: any[]): any;
export function render(shown: any, place: any): void;
export function createContext(value: any): any;
export const Fragment: any;
