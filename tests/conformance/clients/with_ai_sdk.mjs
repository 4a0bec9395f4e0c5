// Vercel's AI SDK: `experimental_transcribe` with its OpenAI provider.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const { BASE_URL, API_KEY, FILE, TEXT, PACKAGES } = process.env;
const require = createRequire(pathToFileURL(`${PACKAGES}/`));
const { experimental_transcribe: transcribe } = require('ai');
const { createOpenAI } = require('@ai-sdk/openai');
const version = (name) =>
  JSON.parse(fs.readFileSync(`${PACKAGES}/node_modules/${name}/package.json`)).version;

const provider = createOpenAI({ baseURL: BASE_URL, apiKey: API_KEY });
const audio = fs.readFileSync(FILE);
const ask = (name, openai) =>
  transcribe({ model: provider.transcription(name), audio, maxRetries: 0, providerOptions: { openai } });

const plain = await ask('whisper-1');
const words = await ask('whisper-1', { timestampGranularities: ['word'] });
const segments = await ask('whisper-1', { timestampGranularities: ['segment'], language: 'en' });
let status;
try {
  await ask('nobody');
} catch (error) {
  status = error.statusCode;
}
process.stdout.write(
  JSON.stringify({
    client: `Vercel AI SDK ${version('ai')}, @ai-sdk/openai ${version('@ai-sdk/openai')}`,
    checks: {
      '`transcribe`': plain.text === TEXT,
      'words, language and duration': words.segments.length === TEXT.split(' ').length &&
        words.language === 'en' && words.durationInSeconds > 2,
      'segments': segments.segments.length === 1,
      'an unknown model is 404': status === 404,
    },
  }),
);
