--- Turn an NTFS volume into a seed of fs_ntfs_fuzz:
--   lua5.4 fs_ntfs_seed.lua VOLUME [SECTOR+COUNT...] > SEED
--
-- Empty sectors are left out, and so are the ranges given: file contents that the map never reads
-- ($UpCase is 256 sectors; ntfscluster -f -I 10 says where). Sectors filled with one byte (a new
-- $LogFile) take five bytes. The seeds in tests/fuzz/corpus/fs_ntfs were made by mkntfs and ntfscp
-- on volumes of 2 MiB, in the states of tests/unit/fs_ntfs_state_test.c.

local SECTOR = 512

--- Group the sectors of a volume: { first, count, fill byte or nil, bytes }.
local function pieces(volume)
  local list = {}
  for at = 0, #volume // SECTOR - 1 do
    local sector = volume:sub(at * SECTOR + 1, (at + 1) * SECTOR)
    local byte = sector:sub(1, 1)
    local fill = sector == byte:rep(SECTOR) and byte or nil
    local last = list[#list]
    if fill == '\0' then
      goto continue
    elseif last and last.fill == fill and last.first + last.count == at and last.count < 256 then
      last.count = last.count + 1
      last.bytes = fill or last.bytes .. sector
    else
      list[#list + 1] = { first = at, count = 1, fill = fill, bytes = fill or sector }
    end
    ::continue::
  end
  return list
end

local file = assert(io.open(assert(arg[1], 'usage: fs_ntfs_seed.lua VOLUME'), 'rb'))
local volume = file:read('a')
file:close()
io.write(('<I2'):pack(#volume // 4096))
for i = 2, #arg do
  local first, count = arg[i]:match('^(%d+)%+(%d+)$')
  first, count = first * SECTOR, count * SECTOR
  volume = volume:sub(1, first) .. ('\0'):rep(count) .. volume:sub(first + count + 1)
end
for _, p in ipairs(pieces(volume)) do
  io.write(('<I2I1I1'):pack(p.first, p.count - 1, p.fill and 1 or 0), p.bytes)
end
