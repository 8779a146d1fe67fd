import { expect, it } from 'vitest';
import { installClients, runClient } from '../support/clients.js';
import { fakeInflux3 } from '../support/influx3.js';

/** The contract takes what InfluxData's own client writes, and refuses in words that it reads. The queries of that client go by Flight. */
it('what the official client writes to an InfluxDB 3 is there, and what is refused it understands', async () => {
  const folder = await installClients();
  const server = await fakeInflux3({ token: 'apiv3_secret' });
  try {
    const said = await runClient(folder, 'influx3.mjs', [server.url, 'apiv3_secret', 'mine']);
    expect(said).toMatchObject({
      version: '3.4.1',
      refused: {
        statusCode: 400,
        message: expect.stringMatching(/line 1: invalid column type for column 'n'/) as string,
      },
    });
    const response = await fetch(`${server.url}/api/v3/query_sql`, {
      method: 'POST',
      headers: { authorization: 'Bearer apiv3_secret' },
      body: JSON.stringify({ db: 'mine', q: 'SELECT * FROM home ORDER BY time', format: 'jsonl' }),
    });
    const rows = (await response.text()).trim().split('\n');
    expect(rows.map((row) => JSON.parse(row) as unknown)).toEqual([
      { time: '2023-11-14T22:13:20.000000001', 'ro om': 'Liv,ing=x', n: 5, ok: true, s: 'a "q" \\ b', t: 1.5 },
      { time: '2023-11-14T22:13:20.000000002', room: 'k', n: 1 },
    ]);
  } finally {
    await server.close();
  }
});
