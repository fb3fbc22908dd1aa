// Walks through pages with a headless Chromium, as a person does: by what is written on buttons, links and labels. The
// walk comes as JSON on the standard input; what the page says after each step goes as JSON to the standard output.

const fs = require('fs');
const { chromium } = require('playwright-core');

const TIMEOUT = 30_000;

async function take(page, [what, argument, value]) {
  switch (what) {
    case 'go':
      return page.goto(argument);
    case 'fill':
      return page.getByLabel(argument).fill(value);
    case 'click':
      return page.getByRole('button', { name: argument }).or(page.getByRole('link', { name: argument })).click();
    case 'see':
      return page.getByText(argument).first().waitFor();
    default:
      throw new Error(`no such step: ${what}`);
  }
}

async function main() {
  const { chromium: executablePath, steps } = JSON.parse(fs.readFileSync(0, 'utf8'));
  const browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
  // The authority of the tests' certificates is in no browser's store.
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  context.setDefaultTimeout(TIMEOUT);
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  const seen = [];
  let failed = null;
  for (const step of steps) {
    try {
      await take(page, step);
      await page.waitForLoadState();
    } catch (error) {
      failed = `${JSON.stringify(step)}: ${error.message}`;
    }
    seen.push({ url: page.url(), title: await page.title(), text: await page.innerText('body') });
    if (failed) break;
  }
  await browser.close();
  console.log(JSON.stringify({ seen, complaints, failed }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
