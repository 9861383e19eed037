// The architecture check itself: it passes a tidy tree and names each kind of offence.
#include <doctest/doctest.h>
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace {

namespace fs = std::filesystem;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "deepwater-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

struct Check {
  bool passed = false;
  std::string output;
};

// The check's verdict on a tree with one file.
Check check(const std::string& file, const std::string& content) {
  const TemporaryFolder tree;
  fs::create_directories((tree.path() / file).parent_path());
  std::ofstream(tree.path() / file) << content;
  const fs::path script = fs::absolute(__FILE__).parent_path() / "check_architecture.sh";
  // Through the environment, so that no path needs quoting.
  ::setenv("CHECK_SCRIPT", script.c_str(), 1);
  ::setenv("CHECK_TREE", tree.path().c_str(), 1);
  std::FILE* pipe = ::popen("\"$CHECK_SCRIPT\" \"$CHECK_TREE\"", "r");
  REQUIRE(pipe != nullptr);
  Check result;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) result.output += static_cast<char>(c);
  result.passed = ::pclose(pipe) == 0;
  return result;
}

}  // namespace

TEST_CASE("ui architecture: a tidy file passes") {
  CHECK(check("core/a.h", "#include \"kernels/b.h\"\n#include \"core/c.h\"\n#include <sys/stat.h>\n").passed);
  CHECK(check("tests/a.cpp", "#include \"experiments/b.h\"\nint i = 5 -----j;\n").passed);
  CHECK(check("layers/a.cpp", std::string(450, '\n')).passed);
}

TEST_CASE("ui architecture: every offence is named with its line") {
  const Check upward = check("kernels/cpu/a.cpp", "\n#include \"core/tensor.h\"\n");
  CHECK_FALSE(upward.passed);
  CHECK(upward.output == "kernels/cpu/a.cpp:2: kernels must not include core\n");
  CHECK_FALSE(check("datasets/a.h", "# include <layers/b.h>\n").passed);
  CHECK_FALSE(check("watermark/a.h", "#include \"datasets/b.h\"\n").passed);
  CHECK_FALSE(check("core/a.h", "#include \"b.h\"\n").passed);
  CHECK_FALSE(check("layers/a.cpp", std::string(451, '\n')).passed);
  CHECK_FALSE(check("core/a.cpp", "// ======== section ========\n").passed);
  CHECK_FALSE(check("core/a.cpp", "  //---------------\n").passed);
}
