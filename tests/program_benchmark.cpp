// bench_step and bench_mark: their JSON and page for small problems, plans and errors. Speed itself is no
// matter of tests.
#include "tests/program_support.h"

using namespace dw;
using namespace dw::test;
using nlohmann::json;

namespace {

std::string bench_step() {
  return program_path("bench_step").string();
}

std::string bench_mark() {
  return program_path("bench_mark").string();
}

std::vector<std::string> small(const ScratchFolder& folder, std::vector<std::string> more) {
  std::vector<std::string> arguments{"--device",  "cpu",
                                     "--threads", "1",
                                     "--rounds",  "1",
                                     "--steps",   "1",
                                     "--only",    "lenet-5 training",
                                     "--out",     (folder / "out").string()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

}  // namespace

TEST_CASE("program bench_step: a small problem without PyTorch, as JSON") {
  const ScratchFolder folder;
  Program program(small(folder, {"--python", "none", "--json", "--quiet"}), 0, bench_step());
  CHECK_MESSAGE(program.wait() == 0, program.err());
  const json report = json::parse(program.out());
  CHECK(json::parse(read_text_file(folder / "out" / "result.json")) == report);
  const std::string page = read_text_file(folder / "out" / "report.html");
  CHECK(contains(page, ">Start and memory</h2>"));
  CHECK(!contains(page, ">Time</h2>"));  // nothing to compare with, no convolution to rate
  for (const char* const key : {"commit", "date", "cpu", "cores", "compiler", "device", "matmul"})
    CHECK(report.contains(key));
  CHECK(report["threads"] == 1);
  CHECK(report["rounds"] == 1);
  CHECK(report["pytorch"].is_null());
  REQUIRE(report["problems"].size() == 1);
  const json& problem = report["problems"][0];
  CHECK(problem["name"] == "lenet-5 training 256");
  CHECK(problem["pytorch"].empty());
  const json& ours = problem["ours"][0];
  for (const char* const figure :
       {"milliseconds", "milliseconds_with_data", "first_seconds", "start_seconds", "peak_megabytes"})
    CHECK(ours[figure].get<double>() > 0);
  CHECK(problem["ours"][1]["variant"] == "marked");
  CHECK(contains(problem["ours"][1]["error"].get<std::string>(), "64 bits"));
  REQUIRE(report["comparisons"].size() == 4);
  for (const json& comparison : report["comparisons"]) {
    CHECK(comparison["ours"].get<double>() > 0);
    CHECK(comparison["goal"].get<double>() > 1);
    CHECK(comparison["pytorch"].is_null());
    CHECK(comparison["met"].is_null());
  }
}

// A stand-in that answers like PyTorch's side, so that the comparison is known.
TEST_CASE("program bench_step: the best of PyTorch's variants counts, and one that fails does not") {
  const ScratchFolder folder;
  const fs::path python = folder / "python";
  write_file_atomically(python, R"(#!/bin/sh
milliseconds=1e6
while read -r request; do
  case $request in
    *compile*) echo '{"error": "no compiler"}'; exit ;;
    *channels-last*) milliseconds=1e5; echo '{"first_seconds": 1, "versions": "stand-in"}' ;;
    *prepare*) echo '{"first_seconds": 2, "versions": "stand-in"}' ;;
    *) echo "{\"milliseconds\": $milliseconds, \"peak_megabytes\": 1}" ;;
  esac
done
)");
  fs::permissions(python, fs::perms::owner_all);
  Program program(small(folder, {"--python", python.string(), "--json", "--quiet", "--starts", "0"}), 0,
                  bench_step());
  CHECK_MESSAGE(program.wait() == 0, program.err());
  const json report = json::parse(program.out());
  CHECK(report["pytorch"] == "stand-in");
  const json& variants = report["problems"][0]["pytorch"];
  REQUIRE(variants.size() == 3);
  CHECK(variants[0]["milliseconds"] == 1e6);
  CHECK(variants[2]["error"] == "no compiler");
  REQUIRE(report["comparisons"].size() == 3);
  CHECK(report["comparisons"][0]["pytorch"] == 1e5);
  CHECK(report["comparisons"][0]["pytorch_variant"] == "channels-last");
  // The one that failed might have been better.
  CHECK(report["comparisons"][0]["met"].is_null());
  CHECK(contains(report["goals"].get<std::string>(), "could not be judged"));
  CHECK(contains(report["comparisons"][2]["what"].get<std::string>(), "peak memory"));
  CHECK(report["comparisons"][2]["met"] == false);
  const std::string page = read_text_file(folder / "out" / "report.html");
  for (const char* const part : {"stand-in", "Training steps", "Peak memory", "no compiler", "channels-last"})
    CHECK_MESSAGE(contains(page, part), part);
}

TEST_CASE("program bench_step: what kept PyTorch from answering is told, and all goals are counted") {
  const ScratchFolder folder;
  const fs::path python = folder / "python";
  write_file_atomically(python, "#!/bin/sh\necho 'No module named torch' >&2\n");
  fs::permissions(python, fs::perms::owner_all);
  Program silent(small(folder, {"--python", python.string(), "--starts", "0"}), 0, bench_step());
  CHECK_MESSAGE(silent.wait() == 0, silent.err());
  CHECK_MESSAGE(contains(silent.err(), "No module named torch"), silent.err());
  CHECK_MESSAGE(contains(silent.out(), "not measured: lenet-5 training 256, ours, marked"), silent.out());
  CHECK_MESSAGE(contains(silent.out(), "0 of 0 goals met, 3 could not be judged"), silent.out());
  write_file_atomically(python, "#!/bin/sh\necho 'hello'\n");
  fs::permissions(python, fs::perms::owner_all);
  Program chatty(small(folder, {"--python", python.string(), "--starts", "0"}), 0, bench_step());
  CHECK_MESSAGE(chatty.wait() == 0, chatty.err());
  CHECK_MESSAGE(contains(chatty.err(), "hello"), chatty.err());
}

TEST_CASE(
    "program bench_step, bench_mark: a folder that cannot be written is told before anything is measured") {
  const ScratchFolder folder;
  write_file_atomically(folder / "file", "not a folder");
  fs::create_directories(folder / "taken" / "result.json");
  const fs::path python = folder / "python", started = folder / "started";
  write_file_atomically(python, "#!/bin/sh\ntouch " + started.string() + "\n");
  fs::permissions(python, fs::perms::owner_all);
  for (const std::string& benchmark : {bench_step(), bench_mark()})
    for (const auto& [out, named] : {std::pair{folder / "file" / "out", "report.html"},
                                     std::pair{folder / "taken", "result.json is a folder"}}) {
      Program program({"--rounds", "1", "--python", python.string(), "--out", out.string()}, 0, benchmark);
      CHECK(program.wait() == 1);
      CHECK_MESSAGE(contains(program.err(), named), program.err());
      CHECK(!fs::exists(started));
    }
}

TEST_CASE("program bench_mark: sizes and keys as asked for, one result as JSON, table and page") {
  const ScratchFolder folder;
  const std::vector<std::string> asked{
      "--device", "cpu", "--threads", "1", "--weights", "80000", "--suspect-weights",      "40000",
      "--keys",   "20",  "--rounds",  "1", "--quiet",   "--out", (folder / "out").string()};
  Program tables(asked, 0, bench_mark());
  CHECK_MESSAGE(tables.wait() == 0, tables.err());
  for (const char* const part : {"ns a weight", "null keys", "verification linear", "report.html"})
    CHECK_MESSAGE(contains(tables.out(), part), tables.out());
  CHECK(contains(read_text_file(folder / "out" / "report.html"), "</svg>"));
  std::vector<std::string> for_programs = asked;
  for_programs.emplace_back("--json");
  Program program(for_programs, 0, bench_mark());
  CHECK_MESSAGE(program.wait() == 0, program.err());
  const json report = json::parse(program.out());
  CHECK(json::parse(read_text_file(folder / "out" / "result.json")) == report);
  const json& largest = report["gradients"].back();
  CHECK(largest["weights"] == 3 * 64 * 64 * 9);  // whole layers
  CHECK(largest["milliseconds"].get<double>() > 0);
  CHECK(report["compared"].empty());
  CHECK(report["verifications"][0]["null_keys"] == 20);
  CHECK(report["verifications"][0]["seconds"].get<double>() > 0);
  for (const json& goal : report["goals"]) CHECK(goal["met"].is_null());  // too small to tell
}

TEST_CASE("program bench_step: plans, also for a device that is not there") {
  Program plan({"--device", "cuda", "--dry-run"}, 0, bench_step());
  CHECK(plan.wait() == 0);
  for (const char* const part :
       {"wrn-28-10 training 1024", "3 against eager", "0.4 of the bf16", "max-autotune"})
    CHECK_MESSAGE(contains(plan.out(), part), plan.out());
  Program on_cpu({"--dry-run"}, 0, bench_step());
  CHECK(on_cpu.wait() == 0);
  CHECK_MESSAGE(contains(on_cpu.out(), "compile; in inference: contiguous, channels-last, compile, frozen"),
                on_cpu.out());
  Program none({"--rounds", "0"}, 0, bench_step());
  CHECK(none.wait() == 2);
  CHECK_MESSAGE(contains(none.err(), "--rounds: expects a number above 0, found '0'"), none.err());
  Program unknown({"--only", "vgg"}, 0, bench_step());
  CHECK(unknown.wait() == 2);
  CHECK(contains(unknown.err(), "\"wrn-10-4 training 64\""));
}
