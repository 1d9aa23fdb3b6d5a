// The official client for Node: node openai.mjs URL PACKAGE
import assert from 'node:assert/strict'

const [url, name] = process.argv.slice(2)
const { default: OpenAI, BadRequestError, APIError } = await import(name)
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'anything' })
const isPng = (text) => Buffer.from(text, 'base64').subarray(1, 4).toString() === 'PNG'

const linked = await client.images.generate({ model: 'dall-e-3', prompt: 'a cat' })
assert.equal(linked.data[0].b64_json, undefined)
assert.equal(linked.data[0].revised_prompt, 'a cat')
assert.equal((await fetch(linked.data[0].url)).headers.get('content-type'), 'image/png')

const inline = await client.images.generate({
  model: 'gpt-image-1', prompt: 'a cat', n: 2, quality: 'low', size: null, user: null,
})
assert.ok(inline.data.length === 2 && inline.data.every((image) => isPng(image.b64_json)))
assert.equal(inline.usage.output_tokens, 2 * 272)
assert.match(inline._request_id, /^req_/)

const asked = { model: 'gpt-image-1', prompt: 'a cat', stream: true }
const events = []
for await (const event of await client.images.generate({ ...asked, partial_images: 2 })) {
  events.push(event)
}
assert.deepEqual(events.map((event) => event.type), [
  'image_generation.partial_image', 'image_generation.partial_image', 'image_generation.completed',
])
assert.deepEqual(events.slice(0, 2).map((event) => event.partial_image_index), [0, 1])
assert.ok(events.every((event) => isPng(event.b64_json)))
assert.ok(events[2].usage.total_tokens > 0)

const indexes = []
for await (const event of await client.images.generate({ ...asked, n: 3 })) indexes.push(event.index)
assert.deepEqual(indexes.sort(), [0, 1, 2])

const models = []
for await (const model of client.models.list()) models.push(model.id)
assert.ok(models.includes('dall-e-3'))

await assert.rejects(client.images.generate({ model: 'gpt-5', prompt: 'a cat' }), (error) => {
  assert.ok(error instanceof BadRequestError)
  assert.deepEqual([error.status, error.code, error.param], [400, 'invalid_value', 'model'])
  assert.match(error.requestID, /^req_/)
  return true
})

await assert.rejects(async () => {
  const failing = { ...asked, prompt: 'a job that fails' }
  for await (const event of await client.images.generate(failing)) assert.fail(event.type)
}, (error) => {
  assert.ok(error instanceof APIError)
  assert.equal(error.code, 'insufficient_memory')
  return true
})
