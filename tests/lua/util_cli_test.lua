local cli = require 'imgtool.util.cli'
local commands = require 'imgtool.cmd'

local command = {
  name = 'try', summary = 'A try',
  args = cli.of_action('image', nil, cli.reporting),
}

local function parse(...) return cli.parse(command, { ... }) end

describe('imgtool.util.cli', function()
  it('takes operands in the place of options', function()
    for _, argv in ipairs { { 'a', 'b' }, { '--device', 'a', '--out', 'b' },
      { '--device', 'a', 'b' }, { 'a', '--out', 'b' }, { '--device=a', '--', 'b' } } do
      local values = assert(parse(table.unpack(argv)))
      assert.equal('a', values.source)
      assert.equal('b', values.target)
    end
    assert.equal('-', parse('a', '-').target)
    assert.equal('--x', parse('--', 'a', '--x').target)
  end)

  it('makes a job of them', function()
    local values = assert(parse('a', 'b', '--chunk-size', '2M', '--force', '--all-blocks'))
    assert.same({ action = 'image', source = 'a', target = 'b', chunk_size = 2 << 20, force = true,
      mode = 'all_blocks' }, cli.job('image', values))
    -- What was not said is not there: the schema has the defaults.
    assert.same({ action = 'image', source = 'a', target = 'b' },
      cli.job('image', assert(parse('a', 'b'))))
  end)

  it('says what is wrong', function()
    local cases = {
      { {}, 'SRC is missing' }, { { 'a' }, 'IMG is missing' },
      { { 'a', 'b', 'c' }, 'too many arguments' },
      { { '--device', 'a', 'b', 'c' }, "unexpected argument 'c'" },
      { { '--fore' }, "unknown option '--fore', did you mean '--force'?" },
      { { '--level', 'x' }, "--level: a whole number is expected, not 'x'" },
      { { '--chunk-size', '7Q' }, "--chunk-size: '7Q' is no size" },
      { { '--uuid', '5' }, "--uuid: '5' is no UUID" },
      { { '--created', 'now' }, "--created: 'now' is no time" },
      { { '' , 'b' }, 'a path is expected' },
    }
    for _, case in ipairs(cases) do
      local values, message = parse(table.unpack(case[1]))
      assert.is_nil(values)
      assert.matches(case[2], message, 1, true)
    end
  end)
end)

describe('imgtool.cmd', function()
  it('has commands that are whole', function()
    for i, entry in ipairs(commands.all()) do
      assert.equal(commands.names[i], entry.name)
      assert.is_string(entry.summary)
      assert.is_nil(entry.summary:match('%.$'), entry.name)
      assert.is_function(entry.run)
      local seen = {}
      for _, argument in ipairs(cli.arguments(entry)) do
        local name = argument.operand or argument.option or argument.flag
        assert.is_nil(seen[name], name)
        seen[name] = true
        assert.is_string(argument.doc, name)
        assert.is_true(argument.operand ~= nil or name:match('^%-%-%l[%l-]+$') ~= nil, name)
      end
    end
  end)
end)
