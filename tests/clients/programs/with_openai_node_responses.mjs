// The official library for JavaScript, in the Responses API. Asked in lines as the Python programs are: see parts.py.
import { createInterface } from 'node:readline'

import OpenAI from 'openai'
import { zodTextFormat } from 'openai/helpers/zod'
import { z } from 'zod'

const { BASE_URL, MODEL } = process.env
let key = ''
const responses = () => new OpenAI({ baseURL: BASE_URL, apiKey: key, maxRetries: 0 }).responses
const Person = z.object({ name: z.string(), age: z.number().int() })
const weather = {
  type: 'function',
  name: 'get_weather',
  strict: true,
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
}

const request = (input, more = {}) => ({ model: MODEL, input, ...more })
const tokens = (usage) => [usage.input_tokens, usage.output_tokens]
const reason = (response) => (response.status === 'completed' ? 'stop' : response.status)

async function collect(iterable) {
  const all = []
  for await (const one of iterable) all.push(one)
  return all
}

// The calls are answered by the id of the response that made them.
async function loop(prompt, ask) {
  const first = await ask(request(prompt, { tools: [weather] }))
  const called = first.output.filter((item) => item.type === 'function_call')
  const outputs = called.map(({ call_id, arguments: given }) => ({
    type: 'function_call_output',
    call_id,
    output: `20 degrees in ${JSON.parse(given).city}`,
  }))
  const last = await ask(request(outputs, { tools: [weather], previous_response_id: first.id }))
  const calls = called.map((call) => ({ name: call.name, arguments: call.arguments }))
  return { words: first.output[0].content[0].text, calls, text: last.output[0].content[0].text }
}

const parts = {
  async chat({ prompt }) {
    const whole = await responses().create(request(prompt))
    return { text: whole.output_text, tokens: tokens(whole.usage), reason: reason(whole) }
  },
  async stream({ prompt }) {
    const events = await collect(await responses().create(request(prompt, { stream: true })))
    const pieces = events.filter(({ type }) => type === 'response.output_text.delta').map(({ delta }) => delta)
    const whole = events.at(-1).response
    return { pieces, tokens: tokens(whole.usage), reason: reason(whole) }
  },
  tools: ({ prompt }) => loop(prompt, (asked) => responses().create(asked)),
  tools_streamed: ({ prompt }) => loop(prompt, (asked) => responses().stream(asked).finalResponse()),
  async structured({ prompt }) {
    const more = { text: { format: zodTextFormat(Person, 'person') } }
    return (await responses().parse(request(prompt, more))).output_parsed
  },
  async image({ prompt, picture }) {
    const content = [
      { type: 'input_text', text: prompt },
      { type: 'input_image', image_url: picture, detail: 'auto' },
    ]
    return { text: (await responses().create(request([{ role: 'user', content }]))).output_text }
  },
  async refused({ prompt }) {
    const error = await responses()
      .create(request(prompt))
      .then(() => null, (error) => error)
    return { kind: error.constructor.name, text: error.message, status: error.status }
  },
}

for await (const line of createInterface(process.stdin)) {
  const asked = JSON.parse(line)
  key = asked.key
  const answered = await parts[asked.part](asked.inputs).then(
    (answer) => ({ answer }),
    (error) => ({ failed: String(error.stack) }),
  )
  process.stdout.write(JSON.stringify(answered) + '\n')
}
