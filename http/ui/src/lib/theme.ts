/** The themes; night red spares eyes that are used to the dark. */
export const themes = ['dark', 'light', 'night'] as const;
export type Theme = (typeof themes)[number];

const key = 'takd.theme';

export function theme(): Theme {
  const kept = localStorage.getItem(key) as Theme | null;
  return kept && themes.includes(kept) ? kept : 'dark';
}

export function applyTheme(next: Theme = theme()) {
  localStorage.setItem(key, next);
  document.documentElement.dataset.theme = next;
  dispatchEvent(new CustomEvent('theme', { detail: next }));
}

/** The value of a colour of the theme: "--accent". */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
