// A cell as a tape of instructions, read from the numbers that tape.py writes, and the backward
// tape that follows from it. No sizes and no memory here.
#pragma once
#include <cstdint>
#include <vector>

namespace evo {

enum Op : int {  // the order is that of tape.py
  LINEAR = 0, SCALE = 1, ADD = 2, MUL = 3, SUB = 4, MEAN = 5, BLEND = 6, ACTIVATE = 7, LOAD = 8,
  MASK = 9
};

struct Instruction {
  int op, target;
  int activation;             // of LINEAR and ACTIVATE
  int start;                  // LINEAR: the static slot it starts from, or -1
  int vector;                 // LINEAR: bias or -1; SCALE: its vector; MASK: the state
  std::vector<int> sources;   // slots; of LOAD a static slot
  std::vector<int> matrices;  // LINEAR: one for each source
};

// The gradient of `slot` gains d * w for each linear that reads it.
struct Gather {
  int slot;
  bool first;  // nothing was there before
  std::vector<int> linears;  // target slots of the linears, whose gradients are multiplied
  std::vector<int> matrices;
};

// One move backward: a gather if `gather` >= 0, else the rule of an instruction. first[i] tells
// whether source i receives its first contribution.
struct Move {
  int gather, instruction;
  std::vector<char> first;
};

struct Block {  // instructions that run on one set of rows
  int slots;
  std::vector<Instruction> forward;
  std::vector<Gather> gathers;
  std::vector<Move> backward;
  std::vector<int> silent;  // states whose gradient nothing contributes to

  // Derives the backward tape. `have` tells which slots have a gradient before it begins;
  // `ends` are slots (states, x) that no instruction computes.
  void differentiate(std::vector<char> have, const std::vector<int> &ends) {
    auto gather_into = [&](int slot) {
      Gather g{slot, !have[slot], {}, {}};
      for (const Instruction &i : forward)
        for (size_t e = 0; i.op == LINEAR && e < i.sources.size(); ++e)
          if (i.sources[e] == slot) {
            g.linears.push_back(i.target);
            g.matrices.push_back(i.matrices[e]);
          }
      if (g.linears.empty()) return;
      have[slot] = 1;
      backward.push_back({int(gathers.size()), -1, {}});
      gathers.push_back(g);
    };
    for (int k = int(forward.size()) - 1; k >= 0; --k) {
      const Instruction &i = forward[k];
      gather_into(i.target);
      Move move{-1, k, {}};
      if (i.op != LINEAR && i.op != LOAD)
        for (int s : i.sources) {
          move.first.push_back(!have[s]);
          have[s] = 1;
        }
      backward.push_back(move);
    }
    for (int s : ends) {
      gather_into(s);
      if (!have[s]) silent.push_back(s);
    }
  }
};

struct Matrix {
  long offset;  // in the flat vector
  long columns;
};

struct Cell {
  int states, input, hidden;
  std::vector<char> is_sum;  // by static slot: the start of a linear, not a value of the cell
  std::vector<int> outputs;  // step slot of each new state
  std::vector<Matrix> matrices;
  std::vector<long> vectors;  // offsets
  Block statics, steps;       // static slot 0 is x; step slots 0.. are the earlier states

  Cell(const int32_t *code, const int64_t *places, int input_size, int hidden_size)
      : input(input_size), hidden(hidden_size) {
    const int32_t *c = code;
    states = *c++;
    statics.slots = *c++;
    steps.slots = *c++;
    const int matrix_count = *c++, vector_count = *c++;
    const int static_count = *c++, step_count = *c++;
    for (int s = 0; s < statics.slots; ++s) is_sum.push_back(char(*c++));
    for (int k = 0; k < states; ++k) outputs.push_back(*c++);
    for (int m = 0; m < matrix_count; ++m, places += 2) matrices.push_back({places[0], places[1]});
    for (int v = 0; v < vector_count; ++v) vectors.push_back(*places++);
    for (int k = 0; k < static_count + step_count; ++k) {
      Instruction i{c[0], c[1], c[2], c[3], c[4], {}, {}};
      const int count = c[5];
      c += 6;
      for (int s = 0; s < count; ++s) i.sources.push_back(*c++);
      for (int s = 0; i.op == LINEAR && s < count; ++s) i.matrices.push_back(*c++);
      (k < static_count ? statics : steps).forward.push_back(i);
    }
    std::vector<char> have(steps.slots, 0);
    for (int o : outputs) have[o] = 1;
    std::vector<int> ends;
    for (int k = 0; k < states; ++k) ends.push_back(k);
    steps.differentiate(have, ends);
    std::vector<char> given(statics.slots, 0);
    for (const Instruction &i : steps.forward) {
      if (i.op == LINEAR && i.start >= 0) given[i.start] = 1;
      if (i.op == LOAD) given[i.sources[0]] = 1;
    }
    statics.differentiate(given, {0});
  }
};

}  // namespace evo
