--- Names of image files. Pure.
local M = {}

M.SUFFIX = '.img.zst'
M.PARTIAL = '.partial'

-- What is safe in a file name everywhere, and no hidden file or option.
local function clean(text)
  local name = text:gsub('[^%w%._-]+', '-'):gsub('^[-.]+', ''):gsub('[-.]+$', '')
  return name
end

local function base_name(path)
  return (path:gsub('/+$', ''):match('[^/]*$'))
end

--- A name for the image of a device, without suffix: what people call the volume, else the disk,
--- else the device.
---@param identity table img.Identity
---@return string
function M.of_source(identity)
  local candidates = { identity.fs_label, identity.part_name }
  if identity.model ~= '' and identity.serial ~= '' then
    candidates[#candidates + 1] = ('%s-%s%s'):format(identity.model, identity.serial,
      identity.part_number > 0 and ('-part%d'):format(identity.part_number) or '')
  end
  candidates[#candidates + 1] = identity.name
  candidates[#candidates + 1] = base_name(identity.path):gsub('%.%w+$', '')
  for _, candidate in ipairs(candidates) do
    local name = clean(candidate)
    if name ~= '' then return name end
  end
  return 'image'
end

--- The image's path: the target itself, or a name in it when it is a directory.
---@param facts {target: string, is_directory: boolean, identity: table, name: string?}
---@return string
function M.image_path(facts)
  if not facts.is_directory then return facts.target end
  local name = facts.name and clean(facts.name) or ''
  if name == '' then name = M.of_source(facts.identity) end
  return facts.target:gsub('/*$', '/', 1) .. name .. M.SUFFIX
end

--- What a file is called until it is complete.
---@param path string
---@return string
function M.partial(path)
  return path .. M.PARTIAL
end

return M
