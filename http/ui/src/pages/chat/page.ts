import type { Page } from '../../lib/page';

export default {
  path: 'chat',
  title: 'chat',
  icon: 'M4 5h16v11H10l-4 4v-4H4zM8 9h8M8 12h5',
  order: 5,
  key: 't',
  load: () => import('./Page.svelte'),
} satisfies Page;
