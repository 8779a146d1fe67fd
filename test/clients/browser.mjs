// A page in Chromium, for what a page of the tests does in it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const quiet = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-component-update', '--disable-sync'];

/** Opens a tab for some work, and leaves nothing behind. */
export async function withTab(work) {
  const folder = mkdtempSync(join(tmpdir(), 'eunomia-chromium-'));
  const browser = await chromium.launchPersistentContext(folder, {
    executablePath: '/usr/bin/chromium',
    headless: true,
    chromiumSandbox: false,
    args: [...quiet, '--disable-background-networking'],
  });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(100_000); // it only ends what hangs
    await work(page);
  } finally {
    await browser.close();
    rmSync(folder, { recursive: true, force: true });
  }
}
