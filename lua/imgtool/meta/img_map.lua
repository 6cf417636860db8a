---@meta img.map
-- Which bytes matter: sorted disjoint extents with a kind ('data', 'zero', 'free', 'bad', 'none').

---@class img.map
local map = {}

---@class img.Map
local Map = {}

---@alias img.Kind 'data'|'zero'|'free'|'bad'|'none'

---An empty map over [0, size), or with `full` one with everything data.
---@param size integer
---@param full? boolean
---@return img.Map
function map.new(size, full) end

---@param bytes string what Map:encode gave
---@return img.Map?, string?, integer?
function map.decode(bytes) end

---@return integer
function Map:size() end
---@return integer
function Map:count() end
---Extent i, from 1.
---@param i integer
---@return integer offset, integer length, img.Kind kind
function Map:at(i) end
---`for offset, length, kind in m:each() do`
---@return fun(): integer?, integer?, img.Kind?
function Map:each() end
---@param offset integer
---@param length integer
---@param kind img.Kind
function Map:set(offset, length, kind) end
---The run that holds an offset, from there on.
---@param offset integer
---@return integer offset, integer length, img.Kind kind
function Map:run(offset) end
---@param kind img.Kind
---@return integer
function Map:bytes(kind) end
---@param other img.Map
---@return img.Map
function Map:union(other) end
---@param other img.Map
---@return img.Map
function Map:intersect(other) end
---@param other img.Map
---@return img.Map
function Map:subtract(other) end
---@param kind img.Kind
---@return img.Map
function Map:gaps(kind) end
---@param other img.Map
---@return boolean
function Map:equal(other) end
---@return string
function Map:encode() end
---The digest that an image keeps of its map.
---@return string
function Map:digest() end
function Map:close() end

return map
