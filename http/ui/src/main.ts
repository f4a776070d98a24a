import { mount } from 'svelte';
import './app.css';
import { applyTheme } from './lib/theme';

applyTheme();
const target = document.getElementById('app')!;
// Before there is a server its address leads here, afterwards to the page.
const first = location.pathname.replace(/\/$/, '') === '/setup' ? import('./setup/Setup.svelte') : import('./App.svelte');
void first.then((m) => mount(m.default, { target }));
