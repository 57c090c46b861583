// AVX-512 VNNI: 64 products an instruction. It multiplies unsigned with signed numbers: weights are
// stored 128 higher, and 128 times the sum of a row's integers is taken off at the start.
#include <immintrin.h>

#include "blocks.h"

namespace dawn {
namespace {

struct Avx512 {
  static constexpr int kTileRows = 8, kTilePanels = 3;  // 24 sums, 3 panels, 1 row of 32 registers

  template <int R, int P>
  static void tile(const Tile& tile, std::int32_t* sums) {
    __m512i sum[R][P];
    DAWN_UNROLLED for (int i = 0; i < R; ++i)
        DAWN_UNROLLED for (int p = 0; p < P; ++p) sum[i][p] =
            _mm512_set1_epi32(-128 * tile.sums[i]);
    for (std::size_t g = 0; g < tile.groups; ++g) {
      __m512i panel[P];
      DAWN_UNROLLED for (int p = 0; p < P; ++p) panel[p] =
          _mm512_load_si512(tile.panels + p * tile.panel_bytes + g * 64);
      _mm_prefetch(reinterpret_cast<const char*>(tile.next + g * 64), _MM_HINT_T1);
      const std::int8_t* rows = tile.integers + g * tile.stride * kDepth;
      DAWN_UNROLLED for (int i = 0; i < R; ++i) {
        std::int32_t four;
        __builtin_memcpy(&four, rows + i * kDepth, sizeof four);
        const __m512i row = _mm512_set1_epi32(four);
        // Written out, because GCC 12 keeps sums of the intrinsic in memory: half the speed.
        DAWN_UNROLLED for (int p = 0; p < P; ++p)
            asm("vpdpbusd %2, %1, %0" : "+v"(sum[i][p]) : "v"(panel[p]), "v"(row));
      }
    }
    DAWN_UNROLLED for (int i = 0; i < R; ++i) DAWN_UNROLLED for (int p = 0; p < P; ++p)
        _mm512_storeu_si512(sums + (i * P + p) * kColumns, sum[i][p]);
  }
};

bool runs_here() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}

}  // namespace

const Kernel kAvx512 = {"avx512-vnni", 0x80, runs_here, round_block, multiply_panels<Avx512>};

}  // namespace dawn
