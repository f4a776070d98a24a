import type { Component } from 'svelte';
import type { Key } from './i18n';

/** One page: each folder of src/pages has a page.ts that exports one as default. */
export interface Page {
  path: string; // of the address, after "#/"
  title: Key;
  icon: string; // path data in a box of 24
  order: number;
  section?: Key; // a heading above it in the menu: this page and those after it
  admin?: boolean; // for administrators alone
  key?: string; // "g" and this opens it
  load: () => Promise<{ default: Component }>;
}

const found = import.meta.glob<{ default: Page }>('../pages/*/page.ts', { eager: true });

export const pages: Page[] = Object.values(found)
  .map((m) => m.default)
  .sort((a, b) => a.order - b.order);
