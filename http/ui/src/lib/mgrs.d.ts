declare module 'mgrs' {
  export function forward(place: [number, number], accuracy?: number): string;
}
