--- Which entry of a list a text means, when it may mean several things. Pure.
local M = {}

--- The one entry that fits the first meaning that fits any; or nil, and all that fit it (none: an
--- empty list).
---@param entries table[]
---@param meanings (fun(entry: table, text: string): boolean)[] what tells most first
---@param text string
---@return table? entry, table[] found
function M.one(entries, meanings, text)
  for _, means in ipairs(meanings) do
    local found = {}
    for _, entry in ipairs(entries) do
      if means(entry, text) then found[#found + 1] = entry end
    end
    if #found > 0 then return #found == 1 and found[1] or nil, found end
  end
  return nil, {}
end

return M
