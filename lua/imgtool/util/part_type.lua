--- Names for types of partitions, for people (UEFI specification 2.10, 5.3.3; the Discoverable
--- Partitions Specification; Microsoft, PARTITION_INFORMATION_GPT). Pure.
local M = {}

local NAMES = {
  ['c12a7328-f81f-11d2-ba4b-00a0c93ec93b'] = 'EFI system',
  ['21686148-6449-6e6f-744e-656564454649'] = 'BIOS boot',
  ['ebd0a0a2-b9e5-4433-87c0-68b6b72699c7'] = 'Windows data',
  ['e3c9e316-0b5c-4db8-817d-f92df00215ae'] = 'Windows reserved',
  ['de94bba4-06d1-4d40-a16a-bfd50179d6ac'] = 'Windows recovery',
  ['5808c8aa-7e8f-42e0-85d2-e1e90434cfb3'] = 'Windows LDM metadata',
  ['af9b60a0-1431-4f62-bc68-3311714a69ad'] = 'Windows LDM data',
  ['0fc63daf-8483-4772-8e79-3d69d8477de4'] = 'Linux data',
  ['4f68bce3-e8cd-4db1-96e7-fbcaf984b709'] = 'Linux root',
  ['933ac7e1-2eb4-4f13-b844-0e14e2aef915'] = 'Linux home',
  ['0657fd6d-a4ab-43c4-84e5-0933c84b4f4f'] = 'Linux swap',
  ['e6d6d379-f507-44c2-a23c-238f2a3df928'] = 'Linux LVM',
  ['a19d880f-05fc-4d3b-a006-743f0f84911e'] = 'Linux RAID',
  ['bc13c2ff-59e6-4262-a352-b275fd6f7172'] = 'Linux boot',
  ['0x1'] = 'FAT12', ['0x4'] = 'FAT16', ['0x5'] = 'extended', ['0x6'] = 'FAT16',
  ['0x7'] = 'NTFS/exFAT', ['0xb'] = 'FAT32', ['0xc'] = 'FAT32', ['0xe'] = 'FAT16',
  ['0xf'] = 'extended', ['0x27'] = 'Windows recovery', ['0x42'] = 'Windows LDM',
  ['0x82'] = 'Linux swap', ['0x83'] = 'Linux data', ['0x85'] = 'extended',
  ['0x8e'] = 'Linux LVM', ['0xee'] = 'protective', ['0xef'] = 'EFI system',
  ['0xfd'] = 'Linux RAID',
}

--- The name of a type, or the type itself where it has none here.
---@param kind string a GUID, or 0x..
---@return string
function M.name(kind)
  return NAMES[kind:lower()] or kind
end

return M
