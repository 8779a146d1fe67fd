import { describe, expect, it } from 'vitest';
import { acceptable, plainAccept } from './accept.js';

const RESULTS = ['application/graphql-response+json', 'application/json'];

describe('an Accept header', () => {
  it.each([
    [undefined, RESULTS, ['text/event-stream', 'multipart/mixed']],
    ['*/*', RESULTS, ['text/event-stream', 'multipart/mixed']],
    ['text/event-stream', [], ['text/event-stream']],
    ['TEXT/Event-Stream', [], ['text/event-stream']],
    ['text/*', [], ['text/event-stream']],
    ['text/event-stream;q=0', [], []],
    ['text/event-stream; q=0, application/json', ['application/json'], []],
    ['text/*, text/event-stream;q=0', [], []],
    ['*/*, text/event-stream;q=0', RESULTS, ['multipart/mixed']],
    ['text/event-stream-x', [], []],
    ['x/text/event-stream', [], []],
    [
      'application/json, text/event-stream;q=0.5, multipart/mixed;q=0.9',
      ['application/json'],
      ['multipart/mixed', 'text/event-stream'],
    ],
    [
      'multipart/mixed;boundary="a,b;q=0";subscriptionSpec=1.0, application/json',
      ['application/json'],
      ['multipart/mixed'],
    ],
    ['application/json; charset=utf-8', ['application/json'], []],
    ['application/graphql-response+json; charset=utf-8, application/json; charset=utf-8; q=0.5', RESULTS, []],
    ['', RESULTS, ['text/event-stream', 'multipart/mixed']],
    ['image/png', [], []],
    [',;q=', [], []],
  ])('%j accepts the results %j and the streams %j', (header, results, streams) =>
    expect(acceptable(header)).toEqual({ results, streams }),
  );

  it('is handed on without weights, in the order of preference, with the best stream only', () => {
    expect(
      plainAccept(
        acceptable(
          'application/json;q=0.1, application/graphql-response+json, multipart/mixed;q=0.2, text/event-stream;q=0.3',
        ),
      ),
    ).toBe('application/graphql-response+json, application/json, text/event-stream');
    expect(plainAccept(acceptable('image/png'))).toBe('');
  });
});
