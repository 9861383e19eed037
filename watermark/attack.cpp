#include "watermark/attack.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "kernels/error.h"
#include "watermark/attacks/kinds.h"

namespace dw {
namespace {

// To add a kind: its line in one of these, or a file with its own list here.
std::vector<AttackDefinition> all_definitions() {
  std::vector<AttackDefinition> all;
  for (const auto& list : {training_attacks(), pruning_attacks(), weight_attacks(), transform_attacks()})
    all.insert(all.end(), list.begin(), list.end());
  return all;
}

const std::vector<AttackDefinition>& definitions() {
  static const std::vector<AttackDefinition> list = all_definitions();
  return list;
}

const AttackDefinition& definition_named(std::string_view name) {
  std::vector<std::string_view> known;
  for (const AttackDefinition& definition : definitions()) {
    if (definition.name == name) return definition;
    known.push_back(definition.name);
  }
  throw UsageError(fmt::format("attack \"{}\" is not known; there are {}", name, fmt::join(known, ", ")));
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

double parse_number(std::string_view attack, std::string_view option, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    throw UsageError(fmt::format("attack {}: expected a number as {}, found \"{}\"", attack, option, text));
  return value;
}

class DefinedAttack : public Attack {
 public:
  DefinedAttack(const AttackDefinition& definition, const AttackArguments& arguments)
      : text_(arguments.canonical()), action_(definition.make(arguments)) {}

  std::string text() const override { return text_; }
  AttackedModel apply(const AttackedModel& victim, const AttackContext& context) const override {
    return action_(victim, context);
  }

 private:
  std::string text_;
  AttackAction action_;
};

std::unique_ptr<Attack> parse_attack(std::string_view text) {
  const std::vector<std::string_view> parts = split(text, ':');
  const AttackDefinition& definition = definition_named(parts.front());
  AttackArguments arguments(definition.name, definition.options);
  for (size_t i = 1; i < parts.size(); ++i) {
    const size_t equals = parts[i].find('=');
    if (equals != std::string_view::npos) {
      arguments.set(parts[i].substr(0, equals), parts[i].substr(equals + 1));
    } else if (i == 1) {
      arguments.set_first(parts[i]);
    } else {
      throw UsageError(
          fmt::format("attack {}: expected OPTION=VALUE, found \"{}\"", definition.name, parts[i]));
    }
  }
  return std::make_unique<DefinedAttack>(definition, arguments);
}

}  // namespace

void AttackArguments::set(std::string_view option, std::string_view value) {
  const auto found = std::ranges::find(options_, option, &AttackOption::name);
  if (found == options_.end()) {
    std::vector<std::string_view> known;
    for (const AttackOption& entry : options_) known.push_back(entry.name);
    throw UsageError(
        fmt::format("attack {} has no option \"{}\"; it has {}", attack_, option,
                    known.empty() ? std::string("none") : fmt::format("{}", fmt::join(known, ", "))));
  }
  if (found->choices.empty()) {
    static_cast<void>(parse_number(attack_, option, value));
  } else if (found->choices != "*" && std::ranges::count(split(found->choices, '|'), value) == 0) {
    throw UsageError(
        fmt::format("attack {}: expected {} as {}, found \"{}\"", attack_, found->choices, option, value));
  }
  found->value = value;
}

void AttackArguments::set_first(std::string_view value) {
  if (options_.empty())
    throw UsageError(fmt::format("attack {} has no options, found \"{}\"", attack_, value));
  set(options_.front().name, value);
}

const std::string& AttackArguments::text(std::string_view option) const {
  const auto found = std::ranges::find(options_, option, &AttackOption::name);
  require(found != options_.end(), "attack {} has no option \"{}\"", attack_, option);
  return found->value;
}

double AttackArguments::number(std::string_view option, double low, double high) const {
  const double value = parse_number(attack_, option, text(option));
  if (value < low || value > high)
    throw UsageError(
        fmt::format("attack {}: expected {} from {} to {}, found {}", attack_, option, low, high, value));
  return value;
}

int64_t AttackArguments::integer(std::string_view option, int64_t low, int64_t high) const {
  const double value = number(option, static_cast<double>(low), static_cast<double>(high));
  if (value != std::floor(value))
    throw UsageError(
        fmt::format("attack {}: expected a whole number as {}, found {}", attack_, option, value));
  return static_cast<int64_t>(value);
}

std::string AttackArguments::canonical() const {
  std::string result = attack_;
  for (const AttackOption& option : options_) result += fmt::format(":{}={}", option.name, option.value);
  return result;
}

std::vector<AttackKind> attack_kinds() {
  std::vector<AttackKind> kinds;
  for (const AttackDefinition& definition : definitions()) {
    std::vector<std::string> options;
    for (const AttackOption& option : definition.options) {
      const bool listed = !option.choices.empty() && option.choices != "*";
      options.push_back(fmt::format("{}={}", option.name, listed ? option.choices : option.value));
    }
    kinds.push_back({definition.name, definition.description, fmt::format("{}", fmt::join(options, ":"))});
  }
  return kinds;
}

std::vector<std::unique_ptr<Attack>> parse_attacks(std::string_view text) {
  std::vector<std::unique_ptr<Attack>> attacks;
  for (const std::string_view part : split(text, ',')) attacks.push_back(parse_attack(part));
  return attacks;
}

uint64_t attack_seed(uint64_t seed, size_t position) {
  const PhiloxWords words = philox({seed, 15, 0}, position);
  return uint64_t{words.word[0]} << 32 | words.word[1];
}

AttackedModel apply_attacks(std::span<const std::unique_ptr<Attack>> attacks, const AttackedModel& victim,
                            const AttackContext& context) {
  AttackedModel result = victim;
  for (size_t i = 0; i < attacks.size(); ++i) {
    AttackContext own = context;
    own.seed = attack_seed(context.seed, i);
    result = attacks[i]->apply(result, own);
  }
  return result;
}

Evaluation evaluate_model(const Model& model, const Task& task, Device device) {
  const std::unique_ptr<Module> network = network_of(model);
  network->to(device);
  const std::unique_ptr<BatchSource> test = task.test();
  return evaluate(*network, *test);
}

}  // namespace dw
