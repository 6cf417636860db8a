--- The strategy of --auto-tune: a hill climber over workers and depth. Pure: a state and a snapshot
--- of progress in, settings out.
---
--- It measures the rate with the settings in force for some seconds, then tries a neighbour for as
--- long. A neighbour that is faster by 3 % stays and the climb goes on in its direction; else the
--- best settings come back and the next direction is tried. When no direction helps, it rests, and
--- looks again later, for the data changes.
local M = {}

local WINDOW_NS <const> = 2 * 1000000000
local SETTLE_NS <const> = 500 * 1000000
local REST_NS <const> = 60 * 1000000000
local GAIN <const> = 1.03

-- In this order: what is tried first helps most often.
local STEPS = {
  { name = 'workers', change = function(n) return n + 1 end },
  { name = 'depth', change = function(n) return n * 2 end },
  { name = 'workers', change = function(n) return n - 1 end },
}

local function same(a, b) return a.workers == b.workers and a.depth == b.depth end

local function clamp(settings, limits)
  return {
    workers = math.max(1, math.min(settings.workers, limits.workers)),
    -- A worker without a slot is idle.
    depth = math.max(2, math.min(math.max(settings.depth, settings.workers + 2), limits.depth)),
  }
end

-- The next neighbour of the best that differs from it, or nil.
local function next_trial(state)
  while state.step <= #STEPS do
    local step = STEPS[state.step]
    local trial = { workers = state.best.workers, depth = state.best.depth }
    trial[step.name] = step.change(trial[step.name])
    trial = clamp(trial, state.limits)
    if not same(trial, state.best) then return trial end
    state.step = state.step + 1
  end
end

local function begin_window(state, now, settings)
  state.settings = settings
  state.from_ns = now.elapsed_ns - now.paused_ns + SETTLE_NS
  state.from_bytes = nil
end

--- A new climber.
---@param limits {workers: integer, depth: integer} the most there may be
function M.new(limits)
  return { limits = limits, step = 1 }
end

-- Bytes a second of the window, or nil while it is not over.
local function measure(state, now)
  local ns = now.elapsed_ns - now.paused_ns
  if ns < state.from_ns then return nil end
  if not state.from_bytes then
    state.from_ns, state.from_bytes = ns, now.done_bytes
    return nil
  end
  if ns - state.from_ns < WINDOW_NS then return nil end
  return (now.done_bytes - state.from_bytes) * 1e9 / (ns - state.from_ns)
end

local function judge(state, rate)
  if not state.best or state.resting then
    state.best, state.best_rate, state.step = state.settings, rate, 1
    state.resting = false
  elseif rate > state.best_rate * GAIN then
    state.best, state.best_rate = state.settings, rate
  else
    state.step = state.step + 1
  end
end

--- The settings to set now, or nil for no change.
---@param state table of `new`; changed
---@param now img.Progress
---@return {workers: integer, depth: integer}?
function M.step(state, now)
  if now.state ~= 'running' then return nil end
  if not state.settings then
    begin_window(state, now, { workers = now.workers, depth = now.depth })
    return nil
  end
  local rate = measure(state, now)
  if not rate then return nil end
  judge(state, rate)
  local before = state.settings
  local settings = next_trial(state)
  if not settings then
    settings, state.resting = state.best, true
  end
  begin_window(state, now, settings)
  if state.resting then state.from_ns = state.from_ns + REST_NS end
  if not same(settings, before) then return settings end
end

return M
