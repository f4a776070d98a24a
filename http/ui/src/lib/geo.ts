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
