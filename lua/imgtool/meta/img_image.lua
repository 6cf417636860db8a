---@meta img.image
-- Images: reading and writing docs/image-format-v2.md. Hashes and UUIDs are lower-case text.

---@class img.image
local image = {}

---@class img.Image
local Image = {}

---@class img.Writer
local Writer = {}

---Open a complete image; the device is kept alive.
---@param file img.Device
---@return img.Image?, string?, integer?
function image.open(file) end

---@class img.Head
---@field source_bytes integer
---@field chunk_bytes integer
---@field block_bytes integer
---@field logical_bytes integer
---@field physical_bytes integer
---@field hash 'xxh3-128'|'sha256'
---@field uuid string RFC 4122 text
---@field created_s integer seconds since 1970 UTC
---@field text string JSON object (specification, section 8)

---Begin an image on an empty file or pipe, or with `resume` go on with an incomplete one; the map's
---digest goes into the head. The device is kept alive.
---@param file img.Device
---@param head img.Head
---@param map img.Map
---@param options? {write_through: boolean?, resume: boolean?}
---@return img.Writer?, string?, integer?
function image.writer(file, head, map, options) end

---The HEAD text, UUID and creation time of an incomplete or complete image file.
---@param file img.Device
---@return img.Head?, string?, integer?
function image.read_head(file) end

---Recover what is still good of an image file, incomplete or damaged, into an empty one, as a complete
---image; what is lost is recorded as bad. Losses are told up to 10,000. `bad_unknown` is the number of
---chunks of which it is lost what could not be read when the image was made (such ranges read as zeros
---now); `bad_seen` says that the image is known to have such ranges. Without `out`, all is read and
---nothing written. It ends (code 'cancelled') when a signal is caught, more than those `seen`: what
---sys.signals gave, or gives when it begins.
---@param file img.Device
---@param out img.Device?
---@param seen integer?
---@return {head_copied: boolean, index_lost: boolean, tables_lost: integer, chunks_lost: integer, bad_unknown: integer, bad_seen: boolean, lost_bytes: integer, lost_ranges: integer, data_bytes: integer, zero_bytes: integer, free_bytes: integer, bad_bytes: integer, losses: {offset: integer, length: integer, file_offset: integer, why: string}[]}?, string?, integer?
function image.repair(file, out, seen) end

---@class img.Cache
local Cache = {}

---Unpacked blocks of any number of images, the least recently used dropped first; with workers, threads
---that unpack ahead of who reads in order.
---@param options {limit_bytes: integer, workers: integer?}
---@return img.Cache?, string?, integer?
function image.cache(options) end

---ahead: blocks made before they were wanted, and of these ahead_used were wanted.
---@return {hits: integer, misses: integer, ahead: integer, ahead_used: integer, evicted: integer, bytes: integer, peak_bytes: integer, limit_bytes: integer}
function Cache:stats() end
function Cache:close() end

---@class img.ImageFacts: img.Head
---@field version string '2.0'
---@field map_digest string
---@field file_bytes integer
---@field chunks integer
---@field data_bytes integer
---@field zero_bytes integer
---@field free_bytes integer
---@field bad_bytes integer
---@field bad_range_bytes integer
---@field root string SHA-256

---@return img.ImageFacts
function Image:facts() end
---META's text: JSON (specification, section 8).
---@return string
function Image:meta() end
---@param number integer from 0
---@return {number: integer, offset: integer, length: integer, entries: {kind: img.Kind, offset: integer, length: integer, file_offset: integer, stored: integer, hash: string?}[], bad: {offset: integer, length: integer}[]}?, string?, integer?
function Image:chunk(number) end
---Compare the root hash with all tables.
---@return true?, string?, integer?
function Image:check_root() end
---The source as a read-only device; the image is kept alive. With a cache that may be shared, or with
---one of its own of so many blocks.
---@param cache? img.Cache|integer
---@return img.Device?, string?, integer?
function Image:device(cache) end
function Image:close() end

---The head in force: of a resumed image, uuid, created_s and text are the file's.
---@return img.Head
function Writer:head() end
---Where the next block goes: 0, or where a resumed image goes on.
---@return integer
function Writer:offset() end
---@return {data_bytes: integer, zero_bytes: integer, free_bytes: integer, bad_bytes: integer, bad_range_bytes: integer, bad_range_count: integer, stored_bytes: integer, file_bytes: integer, committed_bytes: integer, chunks: integer}
function Writer:totals() end
---Complete the image and make it durable; the root hash. A capture that ended well has done it: then only the root
---hash is given.
---@return string?, string?, integer?
function Writer:finish() end
---Make what is whole durable, so that it can be resumed. A capture that did not end well has done it.
---@return true?, string?, integer?
function Writer:stop() end
function Writer:close() end

return image
