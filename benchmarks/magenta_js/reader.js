// Google's reader, as a process: `node reader.js DECODER.json`, then a request a line on stdin and an
// answer a line on stdout, both JSON.
//
//   {"do": "pdf", "rows": [...], "temperature": t, "softmaxTemperature": s}
//       feeds stroke-5 rows from the zero state, and gives the parameters of the next row
//   {"do": "draw", "num": n, "temperature": t, "to_end": true|false}
//       draws n rows, or up to the first end, and gives them with the seconds that it took
//
// Offsets, except those of a pdf, are in the decoder's drawing units.
'use strict';
console.log = console.warn = console.error; // stdout is for the answers
const fs = require('fs');
const http = require('http');
const readline = require('readline');
const { SketchRNN } = require('@magenta/sketch');

async function load(path) {
  const server = http.createServer((_, response) => fs.createReadStream(path).pipe(response));
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  const model = new SketchRNN(`http://127.0.0.1:${server.address().port}/`);
  await model.initialize();
  server.close();
  model.setPixelFactor(1);
  return model;
}

function pdf(model, { rows, temperature, softmaxTemperature }) {
  const state = rows.reduce((state, row) => model.update(row, state), model.zeroState());
  const parameters = model.getPDF(state, temperature, softmaxTemperature);
  return Object.fromEntries(Object.entries(parameters).map(([name, array]) => [name, [...array]]));
}

function draw(model, { num, temperature, to_end }) {
  const start = process.hrtime.bigint();
  const rows = [];
  let state = model.zeroState();
  let row = model.zeroInput();
  while (rows.length < num && !(to_end && row[4] === 1)) {
    state = model.update(row, state);
    row = model.sample(model.getPDF(state, temperature));
    rows.push(row);
  }
  return { rows, seconds: Number(process.hrtime.bigint() - start) / 1e9 };
}

async function main() {
  const model = await load(process.argv[2]);
  console.error('ready');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    const answer = { pdf, draw }[request.do](model, request);
    process.stdout.write(JSON.stringify(answer) + '\n');
  }
}

main();
