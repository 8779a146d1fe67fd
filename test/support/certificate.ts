import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// Made for these tests: `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=localhost`
export const cert = `-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUfX1lWe42CttGRdFS5gYntKqy1e8wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzIwNTkwOFoYDzIxMjYxMDMw
MjA1OTA4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASirMMDZp9geHUlurKf3fMdmnNYEzapyg1mRfhPzVfVkI3CJUwAhmVb
ONgOpEZIPDlMZ2zXMX8tM6xLMCiOqEJ6o28wbTAdBgNVHQ4EFgQUlov7VJe0DJCi
Ijox5tPQIJJz5UowHwYDVR0jBBgwFoAUlov7VJe0DJCiIjox5tPQIJJz5UowDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIhAKxrsAXDPrJAdJpbJzHXTrRVtfBtGCV+ZhYX3glyVH9mAiBl
vGkeO9hbGxZZU4FLM9zI0SjrO6UYg1JEKTa9X6wUtQ==
-----END CERTIFICATE-----
`;
export const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQ8dMUMb72X+uIzlK
fbJU4l69af3j5y8ng6Ndb9n+OzOhRANCAASirMMDZp9geHUlurKf3fMdmnNYEzap
yg1mRfhPzVfVkI3CJUwAhmVbONgOpEZIPDlMZ2zXMX8tM6xLMCiOqEJ6
-----END PRIVATE KEY-----
`;

/** The certificate and its key, in files that only their owner may read. */
export async function createCertificate(): Promise<{
  readonly certFile: string;
  readonly keyFile: string;
  remove(): Promise<void>;
}> {
  const folder = await mkdtemp(join(tmpdir(), 'eunomia-tls-'));
  const files = { certFile: join(folder, 'cert.pem'), keyFile: join(folder, 'key.pem') };
  await writeFile(files.certFile, cert, { mode: 0o600 });
  await writeFile(files.keyFile, key, { mode: 0o600 });
  return { ...files, remove: () => rm(folder, { recursive: true }) };
}
