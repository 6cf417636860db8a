-- Image a disk or volume, check the image, and report.
--
--   imgtool run examples/weekly.lua SOURCE DIRECTORY
--
-- Makes DIRECTORY/NAME-2026-01-31.img.zst, of which every block is read back. An image that does
-- not verify never gets that name; a run that was interrupted on the same day is gone on with by
-- `imgtool image --resume`.
local source, directory, name = ...
if not directory then error('usage: weekly.lua SOURCE DIRECTORY [NAME]', 0) end
name = name or source:match('[^/]*$'):gsub('%.%w+$', '')

local image = job {
  source = source,
  target = ('%s/%s-%s.img.zst'):format(directory, name, date('%Y-%m-%d')),
  mode = 'used_only',
  level = 3,
  read_retries = 3,
  on_read_error = 'abort',
  verify = 'full',
}

local function mib(bytes) return ('%.1f MiB'):format(bytes / MiB) end

print(('%s: %s, of which %s in use, in an image of %s'):format(image.image,
  mib(image.source_bytes), mib(image.data_bytes), mib(image.file_bytes)))
-- A dry run has verified nothing.
local frames = image.verified and image.verified.blocks_checked or 0
print(('%d frames verified, root hash %s'):format(frames, image.root))
