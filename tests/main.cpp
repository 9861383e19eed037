// Runs the tests and names, at the end, those that skipped something and why.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <iostream>
#include <string>
#include <string_view>
#include <vector>

namespace {

/// Takes notice of MESSAGEs that say "skipped".
struct SkippedCases final : doctest::IReporter {
  explicit SkippedCases(const doctest::ContextOptions&) {}

  void test_case_start(const doctest::TestCaseData& test) override { name_ = test.m_name; }
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void log_message(const doctest::MessageData& message) override {
    const std::string text = message.m_string.c_str();
    if (text.find("skipped") == std::string::npos) return;
    std::string line = name_ + ": " + text;
    if (skipped_.empty() || skipped_.back() != line) skipped_.push_back(std::move(line));
  }
  void test_run_end(const doctest::TestRunStats&) override {
    if (skipped_.empty()) return;
    std::cout << "skipped, in whole or in part:\n";
    for (const std::string& line : skipped_) std::cout << "  " << line << '\n';
  }

  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}

 private:
  std::string name_;
  std::vector<std::string> skipped_;
};

REGISTER_LISTENER("skipped", 1, SkippedCases);

}  // namespace
