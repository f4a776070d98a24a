import type { Page } from '../../lib/page';

export default {
  path: 'metrics',
  title: 'metrics',
  icon: 'M3 20h18M6 16v-5M11 16V5M16 16v-8',
  order: 70,
  admin: true,
  load: () => import('./Page.svelte'),
} satisfies Page;
