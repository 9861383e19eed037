// From what a person typed to a data set: the table of readers, and descriptions for `data list|show`.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "datasets/readers.h"

namespace dw {

struct DatasetReader {
  std::string_view name;
  std::string_view expects;  ///< what a SPEC for it looks like, in one line
  bool (*recognises)(const std::string& spec);
  Dataset (*read)(const std::string& spec, const LoadOptions& options);
};

/// Every reader, in the order in which they are asked. To add one: its file, its line in registry.cpp.
std::span<const DatasetReader> dataset_readers();

/// Reads SPEC with the first reader that recognises it, applies options, checks the result and computes its
/// statistics and digest. Errors, one line each: nothing recognises it (what was looked for and what is
/// there), what the reader finds wrong (naming the file), fewer than two classes, classes of train and test
/// that differ.
Dataset load_dataset(const std::string& spec, const LoadOptions& options = {});

/// Name and value of every fact worth showing about a data set, in order.
std::vector<std::pair<std::string, std::string>> describe(const Dataset& dataset);

/// Writes a PNG with rows × columns pictures: each row one class, in turn, from the start of the set.
void contact_sheet(const ImageSet& set, int64_t rows, int64_t columns, const std::filesystem::path& path);

}  // namespace dw
