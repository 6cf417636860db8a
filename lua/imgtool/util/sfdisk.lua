--- A partition table as the text that `sfdisk --dump` prints and `sfdisk DISK < TEXT` takes
--- (sfdisk(8), input formats). Pure.
local M = {}

-- Attributes of the GPT that have a name (UEFI specification 2.10, table 5.7); bits 48 to 63 are
-- the partition type's own.
local NAMED = { [0] = 'RequiredPartition', [1] = 'NoBlockIOProtocol', [2] = 'LegacyBIOSBootable' }

--- The attributes as sfdisk's words; nil when there are none. Bits that have no word (3 to 47,
--- reserved) can't be said.
---@param hex string? '0x' and digits
---@return string?
function M.attributes(hex)
  if not hex or hex == '' then return nil end
  local bits, words, own = math.tointeger(tonumber(hex)), {}, {}
  for bit = 0, 63 do
    if bits >> bit & 1 == 1 then
      if NAMED[bit] then
        words[#words + 1] = NAMED[bit]
      elseif bit >= 48 then
        own[#own + 1] = ('%d'):format(bit)
      end
    end
  end
  if #own > 0 then words[#words + 1] = 'GUID:' .. table.concat(own, ',') end
  return #words > 0 and table.concat(words, ' ') or nil
end

-- What could end the quotes, or is no plain letter, as sfdisk writes and reads it.
local function quoted(name)
  return (name:gsub('[%c"\\`$\127-\255]', function(c) return ('\\x%02x'):format(c:byte()) end))
end

-- sda and 1 make sda1, loop0 and 1 loop0p1.
local function node(device, index)
  return ('%s%s%d'):format(device, device:match('%d$') and 'p' or '', index)
end

local function by_index(partitions)
  local sorted = table.move(partitions, 1, #partitions, 1, {})
  table.sort(sorted, function(a, b) return a.index < b.index end)
  return sorted
end

local function gpt_line(p)
  local line = (', type=%s, uuid=%s'):format(p.type:upper(), p.guid:upper())
  if p.name and p.name ~= '' then line = ('%s, name="%s"'):format(line, quoted(p.name)) end
  local attributes = M.attributes(p.attributes)
  return attributes and ('%s, attrs="%s"'):format(line, attributes) or line
end

local function dos_line(p)
  return (', type=%s%s'):format(p.type:gsub('^0x', ''), p.active and ', bootable' or '')
end

--- The dump of a table.
---@param found img.Table of type gpt or dos
---@param device string the disk's path, for the names in it
---@return string lines without a newline at the end
function M.dump(found, device)
  local sector, gpt = found.sector_bytes, found.table == 'gpt'
  device = device:gsub('[%c%s]', '?')
  local lines = {
    'label: ' .. found.table,
    'label-id: ' .. (gpt and found.id:upper() or '0x' .. found.id),
    'device: ' .. device,
    'unit: sectors',
  }
  if gpt then
    lines[#lines + 1] = ('first-lba: %d'):format(found.first_usable_bytes // sector)
    lines[#lines + 1] = ('last-lba: %d'):format(found.end_usable_bytes // sector - 1)
  end
  lines[#lines + 1] = ('sector-size: %d'):format(sector)
  lines[#lines + 1] = ''
  for _, p in ipairs(by_index(found.partitions)) do
    lines[#lines + 1] = ('%s : start=%12d, size=%12d%s'):format(node(device, p.index),
      p.start_bytes // sector, p.size_bytes // sector, gpt and gpt_line(p) or dos_line(p))
  end
  return table.concat(lines, '\n')
end

return M
