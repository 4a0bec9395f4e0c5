// One call of OpenAI's Node SDK: `node ask.mjs SDK BASE_URL KEY CASE FILE`; prints what came as JSON.
import fs from 'node:fs';
import path from 'node:path';

const [sdk, baseURL, apiKey, name, file] = process.argv.slice(2);
const { default: OpenAI, toFile, APIError } = await import(sdk);
const client = new OpenAI({ baseURL, apiKey, maxRetries: name === 'retry' ? 2 : 0 });
const audio = client.audio.transcriptions;
const bytes = () => fs.readFileSync(file);
const model = 'micro';

async function collect(params) {
  const events = [];
  for await (const event of await audio.create({ ...params, stream: true })) events.push(event);
  return events;
}

const cases = {
  stream: () => audio.create({ file: fs.createReadStream(file), model }),
  buffer: async () => audio.create({ file: await toFile(bytes()), model }),
  file: () => audio.create({ file: new File([bytes()], path.basename(file)), model }),
  model_first: () => audio.create({ model, file: fs.createReadStream(file) }),
  text: () => audio.create({ file: fs.createReadStream(file), model, response_format: 'text' }),
  vtt: () => audio.create({ file: fs.createReadStream(file), model, response_format: 'vtt' }),
  words: () =>
    audio.create({
      file: fs.createReadStream(file),
      model,
      response_format: 'verbose_json',
      timestamp_granularities: ['word', 'segment'],
      chunking_strategy: { type: 'server_vad', threshold: 0.4 },
    }),
  unknown_format: () =>
    audio.create({ file: fs.createReadStream(file), model, response_format: 'lrc' }),
  events: () => collect({ file: fs.createReadStream(file), model }),
  retry: async () => audio.create({ file: await toFile(bytes()), model }),
  request_id: async () => (await audio.create({ file: await toFile(bytes()), model }))._request_id,
  models: async () => {
    const found = [];
    for await (const one of client.models.list()) found.push(one);
    return found;
  },
  model: () => client.models.retrieve('acme/micro'),
  no_model: () => client.models.retrieve('no/such'),
};

let answer;
try {
  answer = { ok: await cases[name]() };
} catch (error) {
  if (!(error instanceof APIError)) throw error;
  const { status, code, type, param, message } = error;
  answer = { error: { class: error.constructor.name, status, code, type, param, message } };
}
process.stdout.write(JSON.stringify(answer));
