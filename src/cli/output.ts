import { constants, fstatSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { visibleLines } from '../base/visible.js';
import { Painted } from './paint.js';

/** Where output goes. */
export interface Output {
  /** Columns of the terminal; null when it is none. */
  readonly width: number | null;
  /** Rows of the terminal; null when it is none. */
  readonly height: number | null;
  /** Whether it is a terminal that shows colours, and nobody has asked for none (NO_COLOR). */
  readonly hasColor: boolean;
  /** Resolves once the reader took the text, and with false when there is no reader any more (`| head`). */
  write(text: string | Uint8Array | Painted): Promise<boolean>;
  /** Empties the screen; does nothing where there is no terminal. */
  clear(): Promise<boolean>;
  /** Lets go of what the reader did not take. */
  close(): void;
}

/**
 * Standard output. Node writes to a pipe synchronously, and a slow reader would stop everything: a
 * pipe is opened anew, non-blocking, through /proc.
 */
export function openOutput(): Output {
  if (process.stdout.isTTY) return terminalOf(outputOf(process.stdout, sizeOfTerminal));
  const pipe = fstatSync(1).isFIFO() ? reopen() : null;
  return outputOf(pipe ?? process.stdout);
}

/** Output that is no terminal. */
export function plainOutput(write: (text: string | Uint8Array) => Promise<boolean>): Output {
  return {
    width: null,
    height: null,
    hasColor: false,
    write: (text) => write(text instanceof Painted ? text.toString() : text),
    clear: () => Promise.resolve(true),
    close: () => undefined,
  };
}

type Terminal = Pick<Output, 'width' | 'height' | 'hasColor'>;

function sizeOfTerminal(): Terminal {
  const { columns, rows } = process.stdout;
  return { width: columns || null, height: rows || null, hasColor: process.stdout.hasColors() };
}

function reopen(): Socket | null {
  try {
    const fd = openSync('/proc/self/fd/1', constants.O_WRONLY | constants.O_NONBLOCK);
    return new Socket({ fd, readable: false, writable: true });
  } catch {
    return null; // another user's pipe, or no /proc
  }
}

/**
 * What acts on a terminal is shown instead, as `\\u001b`: whoever watches must not be driven by what is watched, in no
 * format and from no command. JSON stays JSON of the same value.
 */
export function terminalOf(output: Output): Output {
  const decoder = new StringDecoder('utf8');
  return {
    get width() {
      return output.width;
    },
    get height() {
      return output.height;
    },
    get hasColor() {
      return output.hasColor;
    },
    write: (text) =>
      output.write(
        text instanceof Painted
          ? text
          : visibleLines(typeof text === 'string' ? text : decoder.write(Buffer.from(text))),
      ),
    clear: () => output.write('\u001b[H\u001b[2J'),
    close: () => output.close(),
  };
}

export function outputOf(
  stream: Writable,
  terminal: () => Terminal = () => ({ width: null, height: null, hasColor: false }),
): Output {
  // Each write reports its own error.
  stream.on('error', () => undefined);
  let gone = false;
  return {
    get width() {
      return terminal().width;
    },
    get height() {
      return terminal().height;
    },
    get hasColor() {
      return terminal().hasColor;
    },
    write(text) {
      if (gone) return Promise.resolve(false);
      return new Promise((resolve, reject) => {
        stream.write(
          text instanceof Painted ? text.toString() : text,
          (error: NodeJS.ErrnoException | null | undefined) => {
            if (!error) return resolve(true);
            gone = true;
            if (error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED') resolve(false);
            else reject(error);
          },
        );
      });
    },
    clear: () => Promise.resolve(!gone),
    close() {
      if (stream !== process.stdout) stream.destroy();
    },
  };
}
