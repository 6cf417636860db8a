--- No accidental globals: reading or setting a global that was not declared is an error.
--- `require 'imgtool.strict'` switches it on for the globals of this Lua state.
local M = {}

-- Who made the mistake is one level above the metamethod that noticed it.
local BLAME = 2

--- Make a table strict: a key that it does not have can be neither read nor set.
---@param env table
---@param noun string what a key is called in messages
function M.protect(env, noun)
  local mt = getmetatable(env) or {}
  function mt.__index(_, name)
    error(("%s '%s' is not declared"):format(noun, tostring(name)), BLAME)
  end
  function mt.__newindex(_, name)
    error(("%s '%s' is not declared, and can't be set"):format(noun, tostring(name)), BLAME)
  end
  setmetatable(env, mt)
end

--- Declare a global, for those few that have to be one.
---@param name string
---@param value any
function M.declare(name, value)
  assert(value ~= nil, 'a global without a value stays undeclared')
  rawset(_G, name, value)
end

M.protect(_G, 'global')
return M
