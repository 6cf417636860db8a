--- Content rules: which files' content an image may leave out, and what is recorded of it. Pure.
---
--- The content of a file that a rule chooses is imaged as zeros; the file itself stays, with its
--- name and size. What was left out is listed in the image (docs/image-format-v2.md, 8), so that
--- `explain` can tell it from zeros of the source: a file that would not fit into the list is not
--- left out.
local json = require 'imgtool.util.json'

local M = {}

-- Of the 1 MiB that HEAD's text may have (docs/image-format-v2.md, 3.1); no file takes less than
-- the least.
local TEXT_BYTES <const> = 768 << 10
local LEAST_BYTES <const> = 48
-- Of the values that a reader of that text takes (a range is three); its rest needs fewer than are
-- left.
local VALUES <const> = json.MAX_VALUES - 4096
-- So many candidates are in memory at most, and so many ranges of theirs.
local MAX_FILES <const> = 32768
local MAX_RANGES <const> = 1 << 19
-- Files that a rule chose and that stay are counted, and so many named.
local NAMED <const> = 10

-- A file of this name in the root directory; NTFS looks for names without regard to case.
local function in_root(name)
  return function(file) return file.path:lower() == '/' .. name end
end

local NTFS <const> = { ntfs = true }

--- The rules by name. types: the file systems that have such files; tree: they may be in any
--- directory; test: from the facts of a file.
M.rules = {
  pagefile = { types = NTFS, test = in_root 'pagefile.sys' },
  hiberfil = { types = NTFS, test = in_root 'hiberfil.sys' },
  swapfile = { types = NTFS, test = in_root 'swapfile.sys' },
  swap = { types = { ext2 = true, ext3 = true, ext4 = true, ext4dev = true }, tree = true,
    test = function(file) return file.type == 'swap' end },
}

--- Their names, in order.
M.names = { 'pagefile', 'hiberfil', 'swapfile', 'swap' }

--- What stands for a function of a job script in the metadata.
M.FUNCTION = 'function'

local function has(rules, wanted)
  for _, rule in ipairs(rules) do
    if rule == wanted then return true end
  end
  return false
end

--- The names of rules, functions among them, in order and once: what an image says of its settings.
---@param rules (string|function)[]
---@return string[]
function M.words(rules)
  local words = json.array {}
  for _, name in ipairs(M.names) do
    if has(rules, name) then words[#words + 1] = name end
  end
  for _, rule in ipairs(rules) do
    if type(rule) == 'function' then
      words[#words + 1] = M.FUNCTION
      break
    end
  end
  return words
end

--- What a predicate is told about a file.
---@param file img.File
---@return table
function M.facts(file)
  return {
    path = file.path, name = file.path:match('[^/]*$'), size = file.size,
    allocated = file.allocated, type = file.swap and 'swap' or 'file', created = file.created,
    modified = file.modified, accessed = file.accessed,
  }
end

--- What is to be done with rules on a file system: `tests`, in order, each with the word of its
--- rule; `tree`: whether all directories are looked at.
---@param rules (string|function)[]
---@param fs_type string
---@return {tests: {word: string, test: function}[], tree: boolean}
function M.plan(rules, fs_type)
  local plan = { tests = {}, tree = false }
  for _, name in ipairs(M.names) do
    local rule = M.rules[name]
    if has(rules, name) and rule.types[fs_type] then
      plan.tests[#plan.tests + 1] = { word = name, test = rule.test }
      plan.tree = plan.tree or rule.tree or false
    end
  end
  for _, test in ipairs(rules) do
    if type(test) == 'function' then
      plan.tests[#plan.tests + 1] = { word = M.FUNCTION, test = test }
      plan.tree = true
    end
  end
  return plan
end

--- The word of the first rule that chooses a file, or nil. Errors of a script's function pass.
---@param plan table
---@param facts table
---@return string?
function M.choose(plan, facts)
  for _, row in ipairs(plan.tests) do
    if row.test(facts) then return row.word end
  end
end

-- ---- What was chosen ----

local function larger(a, b)
  if a.bytes ~= b.bytes then return a.bytes > b.bytes end
  return a.path < b.path
end

local Chosen = {}
Chosen.__index = Chosen

--- An empty collection of chosen files, whose memory has a limit.
function M.chosen()
  return setmetatable({ files = {}, ranges = 0, kept = {}, kept_count = 0, skipped = 0,
    skipped_bytes = 0, found = {} }, Chosen)
end

-- Only as many files as the list has room for, the largest first.
function Chosen:prune()
  table.sort(self.files, larger)
  local kept, room, values, ranges = {}, TEXT_BYTES, VALUES, 0
  for _, file in ipairs(self.files) do
    local text = room >= LEAST_BYTES and json.encode(file)
    local cost, count = text and #text + 1 or math.huge, text and json.count_values(text) or 0
    if cost <= room and count <= values then
      kept[#kept + 1], room, values = file, room - cost, values - count
      ranges = ranges + #file.ranges
    else
      self.skipped, self.skipped_bytes = self.skipped + 1, self.skipped_bytes + file.bytes
    end
  end
  self.files, self.ranges = kept, ranges
end

--- A file that a rule chose.
---@param word string
---@param file img.File
function Chosen:add(word, file)
  self.found[word] = true
  if #file.ranges == 0 then
    if file.kept == '' then return end
    self.kept_count = self.kept_count + 1
    if self.kept_count <= NAMED then
      self.kept[self.kept_count] = { path = file.path, why = file.kept }
    end
    return
  end
  local bytes = 0
  for _, range in ipairs(file.ranges) do bytes = bytes + range[2] end
  self.files[#self.files + 1] = { rule = word, path = file.path, size = file.size, bytes = bytes,
    ranges = file.ranges }
  self.ranges = self.ranges + #file.ranges
  if #self.files >= MAX_FILES or self.ranges >= MAX_RANGES then self:prune() end
end

--- The files that are left out, in the order of their paths, and the bytes of all.
---@return table[] files, integer bytes
function Chosen:select()
  self:prune()
  table.sort(self.files, function(a, b) return a.path < b.path end)
  local bytes = 0
  for _, file in ipairs(self.files) do bytes = bytes + file.bytes end
  return self.files, bytes
end

-- ---- What an image says ----

local function is_range(range, size)
  return type(range) == 'table' and math.type(range[1]) == 'integer'
    and math.type(range[2]) == 'integer' and range[1] >= 0 and range[2] > 0
    and range[1] <= size and range[2] <= size - range[1]
end

local function add_file(out, file, size)
  if type(file) ~= 'table' or type(file.ranges) ~= 'table' then return false end
  for _, range in ipairs(file.ranges) do
    if not is_range(range, size) then return false end
    out[#out + 1] = { offset = range[1], length = range[2], rule = tostring(file.rule),
      path = tostring(file.path) }
  end
  return true
end

--- The ranges that rules left out, by the decoded text of an image's HEAD: sorted and apart; empty
--- and a message when the text makes no sense.
---@param head any
---@param size integer of the source
---@return {offset: integer, length: integer, rule: string, path: string}[] ranges, string? message
function M.ranges(head, size)
  local out = {}
  local exclude = type(head) == 'table' and head.exclude
  local files = type(exclude) == 'table' and exclude.files
  for _, file in ipairs(type(files) == 'table' and files or {}) do
    if not add_file(out, file, size) then return {}, 'a range outside the source' end
  end
  table.sort(out, function(a, b) return a.offset < b.offset end)
  for i = 2, #out do
    if out[i].offset < out[i - 1].offset + out[i - 1].length then
      return {}, 'two ranges that overlap'
    end
  end
  return out
end

return M
