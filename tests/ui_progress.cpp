// Progress: the line itself, and that a bar behaves on a stream: silent, quiet, threaded, interrupted.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "experiments/progress.h"
#include "experiments/text.h"

using namespace dw;

namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

class CapturedStream {
 public:
  CapturedStream() { set_progress_quiet(false); }  // other tests of this process may have turned it on
  std::FILE* get() { return file_.get(); }
  std::string text() {
    std::fflush(get());
    std::rewind(get());
    std::string content;
    for (int c = std::fgetc(get()); c != EOF; c = std::fgetc(get())) content += static_cast<char>(c);
    return content;
  }

 private:
  std::unique_ptr<std::FILE, CloseFile> file_{std::tmpfile()};
};

ProgressState half_way() {
  return {.label = "training",
          .unit = "images",
          .note = "loss 1.23 acc 45.6 %",
          .done = 25000,
          .total = 50000,
          .elapsed_seconds = 12.4,
          .units_per_second = 2000};
}

}  // namespace

TEST_CASE("ui progress: a wide line shows everything, in UTF-8 and in ASCII") {
  CHECK(render_progress(half_way(), 120, true) ==
        "training  50 %  ███████████▌░░░░░░░░░░░  25,000/50,000 images · 2,000 images/s · 0:12 · 0:13 left · "
        "loss 1.23 acc 45.6 %");
  CHECK(render_progress(half_way(), 120, false) ==
        "training  50 %  [##########...........]  25,000/50,000 images | 2,000 images/s | 0:12 | 0:13 left | "
        "loss 1.23 acc 45.6 %");
}

TEST_CASE("ui progress: every width is respected and narrow lines keep what matters") {
  for (const bool utf8 : {true, false})
    for (size_t width = 0; width < 200; ++width) {
      const std::string line = render_progress(half_way(), width, utf8);
      CHECK(display_width(line) <= width);
      if (width >= 14) CHECK(line.starts_with("training  50 %"));
    }
  CHECK(render_progress(half_way(), 48, true) == "training  50 %  0:13 left · loss 1.23 acc 45.6 %");
  CHECK(render_progress(half_way(), 26, true) == "training  50 %  0:13 left");
}

TEST_CASE("ui progress: edges of the range") {
  ProgressState state = half_way();
  state.done = 49999;
  CHECK(render_progress(state, 120, true).starts_with("training  99 %"));
  state.done = 60000;  // more than announced
  CHECK(render_progress(state, 120, true).starts_with("training 100 %"));
  CHECK(render_progress(state, 120, true).find("left") == std::string::npos);
  state.total = 0;  // amount unknown
  CHECK(render_progress(state, 120, true) ==
        "training  60,000 images · 2,000 images/s · 0:12 · loss 1.23 acc 45.6 %");
  state = half_way();
  state.units_per_second = 0;
  CHECK(render_progress(state, 120, true).find("? left") != std::string::npos);
  state.note = "two\nlines\x1b[2J";
  CHECK(render_progress(state, 120, true).find_first_of("\n\x1b") == std::string::npos);
}

TEST_CASE("ui progress: a forced bar draws at once and ends its line once") {
  CapturedStream stream;
  {
    Progress bar("reading", 4, "files", Progress::Show::always, stream.get());
    bar.advance(1, "first");
    bar.message("between");
    bar.advance(3, "last");
    bar.finish();
    bar.finish();
    bar.advance(1);
  }
  const std::string text = stream.text();
  CHECK(text.find("reading  25 %") != std::string::npos);
  CHECK(text.find("\r\x1b[Kbetween\n\r") != std::string::npos);
  CHECK(text.find("reading 100 %") != std::string::npos);
  CHECK(text.ends_with("last\x1b[K\n"));
  CHECK(std::count(text.begin(), text.end(), '\n') == 2);
}

TEST_CASE("ui progress: silent where stderr is no terminal, messages still come through") {
  CapturedStream stream;
  {
    Progress bar("reading", 4, "files", Progress::Show::automatic, stream.get());
    bar.advance(4);
    bar.message("epoch 1 done");
  }
  CHECK(stream.text() == "epoch 1 done\n");
}

TEST_CASE("ui progress: quiet prints nothing at all") {
  CapturedStream stream;
  set_progress_quiet(true);
  {
    Progress bar("reading", 4, "files", Progress::Show::always, stream.get());
    bar.advance(4);
    bar.message("epoch 1 done");
  }
  set_progress_quiet(false);
  {
    Progress bar("reading", 4, "files", Progress::Show::never, stream.get());
    bar.advance(4);
    bar.message("epoch 1 done");
  }
  CHECK(stream.text().empty());
}

TEST_CASE("ui progress: the line is ended while an exception passes") {
  CapturedStream stream;
  try {
    Progress bar("reading", 4, "files", Progress::Show::always, stream.get());
    bar.advance(1);
    throw std::runtime_error("stop");
  } catch (const std::runtime_error&) {
  }
  CHECK(stream.text().ends_with("\n"));
}

TEST_CASE("ui progress: advances from several threads all count") {
  CapturedStream stream;
  {
    Progress bar("reading", 4000, "files", Progress::Show::always, stream.get());
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        for (int k = 0; k < 1000; ++k) bar.advance(1, "x");
      });
    threads.clear();
  }
  CHECK(stream.text().find("4,000/4,000 files") != std::string::npos);
}
