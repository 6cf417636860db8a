--- A limit for the functions that a script gives: one that never returns must not hang the job.
local M = {}

--- Call f with at most so many instructions: what pcall answers, the first value only. `what` says
--- in the message what they were for.
---@param instructions integer
---@param what string
---@param f function
---@return boolean ok, any value
function M.call(instructions, what, f, ...)
  debug.sethook(function()
    error(('more than %d instructions for %s: an endless loop?'):format(instructions, what), 2)
  end, '', instructions)
  local ok, value = pcall(f, ...)
  debug.sethook()
  return ok, value
end

return M
