import type { Page } from '../../lib/page';

export default {
  path: 'enroll',
  title: 'enroll',
  icon: 'M3 3h7v7H3zM14 3h7v7h-7zM3 14h7v7H3zM14 14h3v3h-3zM18 18h3v3h-3z',
  order: 50,
  admin: true,
  load: () => import('./Page.svelte'),
} satisfies Page;
