#include "core/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/error.h"

namespace dw {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int get() const { return value_; }

 private:
  int value_;
};

template <typename Container>
Container read_whole(const std::filesystem::path& path, size_t limit) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  require(file.get() >= 0, "cannot open {}: {}", path.string(), std::strerror(errno));
  struct stat status {};
  require(::fstat(file.get(), &status) == 0, "cannot stat {}: {}", path.string(), std::strerror(errno));
  require(S_ISREG(status.st_mode), "{} is not a regular file", path.string());
  const auto size = static_cast<size_t>(status.st_size);
  require(size <= limit, "{} has {} bytes, expected at most {}", path.string(), size, limit);
  Container content;
  content.resize(size);
  size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(file.get(), content.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    require(got > 0, "cannot read {}: {} of {} bytes, {}", path.string(), done, size,
            got < 0 ? std::strerror(errno) : "the file became shorter");
    done += static_cast<size_t>(got);
  }
  return content;
}

}  // namespace

std::vector<std::byte> read_file(const std::filesystem::path& path, size_t limit) {
  return read_whole<std::vector<std::byte>>(path, limit);
}

std::string read_text_file(const std::filesystem::path& path, size_t limit) {
  return read_whole<std::string>(path, limit);
}

AtomicFile::AtomicFile(std::filesystem::path path, unsigned mode, Existing existing)
    : path_(std::move(path)), existing_(existing) {
  require(existing == Existing::replace || !std::filesystem::exists(std::filesystem::symlink_status(path_)),
          "{} exists and is never overwritten", path_.string());
  if (path_.has_parent_path()) {
    std::error_code error;
    std::filesystem::create_directories(path_.parent_path(), error);
    require(!error, "cannot write {}: its folder could not be made: {}", path_.string(), error.message());
  }
  temporary_ = path_;
  temporary_ += fmt::format(".{}.tmp", ::getpid());
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  require(descriptor_ >= 0, "cannot write {}: {}", path_.string(), std::strerror(errno));
  // The umask must not widen or narrow what the caller asked for.
  ::fchmod(descriptor_, mode);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = ::write(descriptor_, bytes.data() + done, bytes.size() - done);
    if (put < 0 && errno == EINTR) continue;
    require(put > 0, "cannot write {}: {}", path_.string(), std::strerror(errno));
    done += static_cast<size_t>(put);
  }
}

void AtomicFile::write(std::string_view text) {
  write(std::as_bytes(std::span(text)));
}

void AtomicFile::commit() {
  require(::fsync(descriptor_) == 0, "cannot write {}: {}", path_.string(), std::strerror(errno));
  if (existing_ == Existing::refuse) {
    // link() fails where the name exists, unlike rename().
    require(::link(temporary_.c_str(), path_.c_str()) == 0, "cannot create {}: {}", path_.string(),
            std::strerror(errno));
    ::unlink(temporary_.c_str());
  } else {
    require(::rename(temporary_.c_str(), path_.c_str()) == 0, "cannot replace {}: {}", path_.string(),
            std::strerror(errno));
  }
  ::close(std::exchange(descriptor_, -1));
  const auto folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
  const Descriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() >= 0) ::fsync(directory.get());
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text, unsigned mode,
                           AtomicFile::Existing existing) {
  AtomicFile file(path, mode, existing);
  file.write(text);
  file.commit();
}

}  // namespace dw
