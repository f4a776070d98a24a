import type { Page } from '../../lib/page';

export default {
  path: 'retention',
  title: 'retention',
  icon: 'M4 7h16M6 7v13h12V7M9 4h6M12 11v4l2.500 1.500',
  order: 70,
  section: 'administrative',
  admin: true,
  load: () => import('./Page.svelte'),
} satisfies Page;
