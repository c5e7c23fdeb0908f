#!/usr/bin/env node
// NAME of bcachefs-ts. Starts the bundle beside it, whose compiled code comes from files where this Node can use them: V8 looks at its
// own version and flags first, and compiles anew where they differ. Made by scripts/bundle.ts, which fills in the capitals.
// A script and no module: Node takes 5 ms more to start one of those. Any Node can read this file, so that one that is too old gets a
// line instead of a stack trace.

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(`NAME: Node 20.19 or newer is needed, this is ${process.versions.node}\n`);
  process.exit(1);
}

const { readFileSync } = require('node:fs');
const { Script } = require('node:vm');

/** A script of the bundle, evaluated: the function that it is. */
function load(name) {
  const filename = `${__dirname}/${name}`;
  return new Script(readFileSync(filename, 'latin1'), {
    filename,
    cachedData: compiledCode(filename),
  }).runInThisContext();
}

/** @returns undefined where the package has none */
function compiledCode(filename) {
  try {
    return readFileSync(`${filename}.cache`);
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

load('BUNDLE')(require, __dirname, load).run('NAME');
