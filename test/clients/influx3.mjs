import { InfluxDBClient, Point } from '@influxdata/influxdb3-client';

/** What InfluxData's client makes of an InfluxDB 3: node influx3.mjs URL TOKEN DATABASE */
const [host, token, database] = process.argv.slice(2);
const client = new InfluxDBClient({ host, token, database });
const point = Point.measurement('home')
  .setTag('ro om', 'Liv,ing=x')
  .setIntegerField('n', 5)
  .setFloatField('t', 1.5)
  .setStringField('s', 'a "q" \\ b')
  .setBooleanField('ok', true)
  .setTimestamp(1700000000000000001n);
const v3 = { noSync: true, precision: 'ns' };
await client.write(point, database, undefined, v3);
await client.write('home,room=k n=1i 1700000000000000002', database, undefined, { precision: 'ns' });
const refused = await client.write('home,room=k n="x" 1700000000000000003', database, undefined, v3).then(
  () => null,
  ({ statusCode, message }) => ({ statusCode, message }),
);
const version = await client.getServerVersion();
await client.close();
process.stdout.write(JSON.stringify({ version, refused }));
