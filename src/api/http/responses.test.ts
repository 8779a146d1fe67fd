import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { expect, it } from 'vitest';
import { EunomiaError } from '../../base/errors.js';
import { BYTES_PER_VALUE, Responses } from './responses.js';

const one = { who: 'one', role: 'viewer' } as const;
const responseOf = () => new ServerResponse(new IncomingMessage(new Socket()));
const small = { cost: 1, values: 1 };

/** Counts a result of so many values, and then of so many bytes of text. */
function count(responses: Responses, response: ServerResponse, bytes: number): void {
  const sized = responses.take(response, one, small);
  if (sized instanceof EunomiaError) throw sized;
  sized(bytes);
}

it('the text of a result counts from when it is made until its response is closed', () => {
  const responses = new Responses();
  const response = responseOf();
  count(responses, response, 192 << 20);
  expect(responses.take(responseOf(), one, small)).toMatchObject({ code: 'LIMIT_EXCEEDED' });
  response.emit('close');
  expect(responses.take(responseOf(), one, small)).toBeTypeOf('function');
});

it('a text that is made after its response was closed is not counted', () => {
  const responses = new Responses();
  const response = responseOf();
  const sized = responses.take(response, one, small);
  response.emit('close');
  if (!(sized instanceof EunomiaError)) sized(192 << 20);
  expect(responses.take(responseOf(), one, small)).toBeTypeOf('function');
  const gone = responseOf();
  gone.destroyed = true;
  count(responses, gone, 192 << 20);
  expect(responses.take(responseOf(), one, small)).toBeTypeOf('function');
});

it('no result reserves more than an eighth of all', () => {
  const responses = new Responses();
  const huge = { cost: 1, values: (64 << 20) / BYTES_PER_VALUE };
  for (let i = 0; i < 6; i++) expect(responses.take(responseOf(), one, huge)).toBeTypeOf('function');
  expect(responses.take(responseOf(), one, huge)).toMatchObject({ code: 'LIMIT_EXCEEDED' });
});
