import { forward } from 'mgrs';

export const formats = ['MGRS', 'DMS', 'DD'] as const;
export type Format = (typeof formats)[number];

/** Web Mercator of degrees: 0 to 1 from the north-west corner. */
export const mercatorX = (lon: number) => (180 + lon) / 360;
export const mercatorY = (lat: number) => {
  const r = (Math.max(-85.06, Math.min(85.06, lat)) * Math.PI) / 180;
  return (1 - Math.log(Math.tan(Math.PI / 4 + r / 2)) / Math.PI) / 2;
};
export const lonOf = (x: number) => x * 360 - 180;
export const latOf = (y: number) => (Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) * 180) / Math.PI;

function dms(v: number, names: string): string {
  const a = Math.round(Math.abs(v) * 36000) / 10;
  const d = Math.floor(a / 3600);
  const m = Math.floor((a - d * 3600) / 60);
  return `${d}°${String(m).padStart(2, '0')}′${(a - d * 3600 - m * 60).toFixed(1).padStart(4, '0')}″${names[v < 0 ? 1 : 0]}`;
}

/** A place as people write it. */
export function place(lon: number, lat: number, format: Format): string {
  if (format === 'MGRS' && Math.abs(lat) <= 80) return forward([lon, lat], 5).replace(/^(\d+\w)(\w\w)(\d{5})(\d{5})$/, '$1 $2 $3 $4');
  if (format === 'DD' || format === 'MGRS') return `${lat.toFixed(6)}, ${lon.toFixed(6)}`;
  return `${dms(lat, 'NS')} ${dms(lon, 'EW')}`;
}

const earth = 6_371_008.8; // metres
const rad = Math.PI / 180;

/** The place so many metres east and north of another. */
export function offset(lon: number, lat: number, east: number, north: number): [number, number] {
  const y = Math.max(-89.9, Math.min(89.9, lat + north / earth / rad));
  return [lon + east / earth / rad / Math.cos(lat * rad), y];
}

/** Metres along the great circle. */
export function distance(lon1: number, lat1: number, lon2: number, lat2: number): number {
  const a = Math.sin(((lat2 - lat1) * rad) / 2) ** 2 + Math.cos(lat1 * rad) * Math.cos(lat2 * rad) * Math.sin(((lon2 - lon1) * rad) / 2) ** 2;
  return 2 * earth * Math.asin(Math.min(1, Math.sqrt(a)));
}

/** Degrees from true north, at the beginning of the way. */
export function bearing(lon1: number, lat1: number, lon2: number, lat2: number): number {
  const d = (lon2 - lon1) * rad;
  const y = Math.sin(d) * Math.cos(lat2 * rad);
  const x = Math.cos(lat1 * rad) * Math.sin(lat2 * rad) - Math.sin(lat1 * rad) * Math.cos(lat2 * rad) * Math.cos(d);
  return (Math.atan2(y, x) / rad + 360) % 360;
}

export const units = ['km', 'NM'] as const;
export type Unit = (typeof units)[number];

/** A way of so many metres: "350 m", "12.3 km", "6.64 NM". */
export function length(metres: number, unit: Unit): string {
  if (unit === 'NM') return `${(metres / 1852).toFixed(metres < 18_520 ? 2 : 1)} NM`;
  return metres < 1000 ? `${Math.round(metres)} m` : `${(metres / 1000).toFixed(metres < 10_000 ? 2 : 1)} km`;
}

/** The metres of a line: lon and lat in turn. */
export function lengthOf(line: number[]): number {
  let sum = 0;
  for (let i = 2; i < line.length; i += 2) sum += distance(line[i - 2], line[i - 1], line[i], line[i + 1]);
  return sum;
}
