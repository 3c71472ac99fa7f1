// OpenAI's Agents SDK for JavaScript, which speaks the Responses API. Asked in lines as the Python programs are: see
// parts.py.
import { createInterface } from 'node:readline'

import { Agent, OpenAIResponsesModel, Runner, tool } from '@openai/agents'
import OpenAI from 'openai'
import { z } from 'zod'

const { BASE_URL, MODEL } = process.env
let key = ''
const runner = new Runner({ tracingDisabled: true })
const Person = z.object({ name: z.string(), age: z.number().int() })
const weather = tool({
  name: 'get_weather',
  description: 'The weather in a city.',
  parameters: z.object({ city: z.string() }),
  execute: ({ city }) => `20 degrees in ${city}`,
})

function agent(more = {}) {
  const client = new OpenAI({ baseURL: BASE_URL, apiKey: key, maxRetries: 0 })
  const model = new OpenAIResponsesModel(client, MODEL)
  return new Agent({ name: 'helper', instructions: 'Be brief.', model, ...more })
}

const run = (input, more) => runner.run(agent(more), input)

async function streamed(input, more) {
  const result = await runner.run(agent(more), input, { stream: true })
  const pieces = []
  for await (const event of result) {
    if (event.type === 'raw_model_stream_event' && event.data.type === 'output_text_delta') pieces.push(event.data.delta)
  }
  await result.completed
  return { result, pieces }
}

const tokens = ({ state }) => [state.usage.inputTokens, state.usage.outputTokens]

function told(result) {
  const [words, ...calls] = result.rawResponses[0].output
  return {
    words: words.content[0].text,
    calls: calls.map((call) => ({ name: call.name, arguments: call.arguments })),
    text: result.finalOutput,
  }
}

const parts = {
  async chat({ prompt }) {
    const result = await run(prompt)
    return { text: result.finalOutput, tokens: tokens(result), reason: 'stop' }
  },
  async stream({ prompt }) {
    const { result, pieces } = await streamed(prompt)
    return { pieces, tokens: tokens(result), reason: result.finalOutput === pieces.join('') ? 'stop' : 'other' }
  },
  tools: async ({ prompt }) => told(await run(prompt, { tools: [weather] })),
  tools_streamed: async ({ prompt }) => told((await streamed(prompt, { tools: [weather] })).result),
  structured: async ({ prompt }) => (await run(prompt, { outputType: Person })).finalOutput,
  async image({ prompt, picture }) {
    const content = [{ type: 'input_text', text: prompt }, { type: 'input_image', image: picture }]
    return { text: (await run([{ role: 'user', content }])).finalOutput }
  },
  // Another agent answers: the first gives it the floor by a call of the SDK's own.
  async handed_over({ prompt }) {
    const other = agent({ name: 'forecaster', handoffDescription: 'Knows the weather.' })
    const result = await run(prompt, { handoffs: [other] })
    return { text: result.finalOutput, by: result.lastAgent.name }
  },
  async refused({ prompt }) {
    const error = await run(prompt).then(() => null, (error) => error)
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
