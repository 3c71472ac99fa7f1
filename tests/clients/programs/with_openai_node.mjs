// The official library for JavaScript. Asked in lines as the Python programs are: see parts.py.
import { createInterface } from 'node:readline'

import OpenAI, { toFile } from 'openai'
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod'
import { z } from 'zod'

const { BASE_URL, MODEL } = process.env
let key = ''
const client = () => new OpenAI({ baseURL: BASE_URL, apiKey: key, maxRetries: 0 })
const Person = z.object({ name: z.string(), age: z.number().int() })
const weather = {
  name: 'get_weather',
  description: 'The weather in a city.',
  parameters: z.object({ city: z.string() }),
  function: ({ city }) => `20 degrees in ${city}`,
}

const request = (content, more = {}) => ({ model: MODEL, messages: [{ role: 'user', content }], ...more })
const tokens = (usage) => [usage.prompt_tokens, usage.completion_tokens]
const pieces = (chunks) => chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta.content ?? ''))

async function collect(iterable) {
  const all = []
  for await (const one of iterable) all.push(one)
  return all
}

async function loop(prompt, stream) {
  const runner = client().chat.completions.runTools({ ...request(prompt), stream, tools: [zodFunction(weather)] })
  const text = await runner.finalContent()
  const asked = runner.messages.find((message) => message.tool_calls)
  const calls = asked.tool_calls.map((call) => ({ name: call.function.name, arguments: call.function.arguments }))
  return { words: asked.content, calls, text }
}

const parts = {
  async chat({ prompt }) {
    const whole = await client().chat.completions.create(request(prompt))
    const [choice] = whole.choices
    return { text: choice.message.content, tokens: tokens(whole.usage), reason: choice.finish_reason }
  },
  async stream({ prompt }) {
    const options = { stream: true, stream_options: { include_usage: true } }
    const chunks = await collect(await client().chat.completions.create(request(prompt, options)))
    const reason = chunks.flatMap((chunk) => chunk.choices).at(-1).finish_reason
    return { pieces: pieces(chunks), tokens: tokens(chunks.at(-1).usage), reason }
  },
  async reasoning({ prompt }) {
    const whole = await client().chat.completions.create(request(prompt))
    const chunks = await collect(await client().chat.completions.create(request(prompt, { stream: true })))
    const streamed = chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta.reasoning_content ?? ''))
    return { reasoning: whole.choices[0].message.reasoning_content, streamed: streamed.join('') }
  },
  tools: ({ prompt }) => loop(prompt, false),
  tools_streamed: ({ prompt }) => loop(prompt, true),
  async structured({ prompt }) {
    const more = { response_format: zodResponseFormat(Person, 'person') }
    const whole = await client().chat.completions.parse(request(prompt, more))
    return whole.choices[0].message.parsed
  },
  async image({ prompt, picture }) {
    const content = [{ type: 'text', text: prompt }, { type: 'image_url', image_url: { url: picture } }]
    return { text: (await client().chat.completions.create(request(content))).choices[0].message.content }
  },
  async refused({ prompt }) {
    const error = await client().chat.completions.create(request(prompt)).then(() => null, (error) => error)
    return { kind: error.constructor.name, text: error.message, status: error.status }
  },
  async files({ prompt, name, text }) {
    const api = client()
    const file = await toFile(Buffer.from(text), name)
    const made = await api.files.create({ file, purpose: 'user_data' })
    const content = [{ type: 'text', text: prompt }, { type: 'file', file: { file_id: made.id } }]
    const answer = (await api.chat.completions.create(request(content))).choices[0].message.content
    const listed = (await collect(api.files.list())).map((one) => one.id)
    const fetched = await (await api.files.content(made.id)).text()
    await api.files.delete(made.id)
    const left = (await collect(api.files.list())).map((one) => one.id)
    return { text: answer, listed: listed.includes(made.id), content: fetched, left }
  },
  async models() {
    return (await collect(client().models.list())).map((model) => model.id)
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
