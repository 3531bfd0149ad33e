(ns httpkit.golden.frame
  "WebSocket frames (RFC 6455 section 5.2) as the data writes them: a writer
  for the client's frames, wrong ones included, a reader for the server's."
  (:require [clojure.set :as set]
            [httpkit.golden.bytes :as bytes])
  (:import [java.io ByteArrayOutputStream]
           [java.nio.charset StandardCharsets]
           [java.util Arrays]))

(set! *warn-on-reflection* true)

(def ^:private opcodes
  {"cont" 0 "text" 1 "binary" 2 "close" 8 "ping" 9 "pong" 10})

(def ^:private names (set/map-invert opcodes))

(def ^:private mask-key (byte-array (map unchecked-byte [0x37 0xfa 0x21 0x3d])))

(defn- big-endian
  "The low `n` bytes of `x`, highest first."
  [x n]
  (mapv #(unchecked-byte (bit-shift-right (long x) (* 8 (long %)))) (range (dec n) -1 -1)))

(defn mask
  "`payload` XORed with the 4-byte `key`."
  ^bytes [^bytes payload ^bytes key]
  (let [out (aclone payload)]
    (dotimes [i (alength out)]
      (aset out i (unchecked-byte (bit-xor (aget out i) (aget key (bit-and i 3))))))
    out))

(defn- payload-bytes ^bytes [{:strs [payload utf8 code reason]}]
  (cond
    utf8 (.getBytes ^String utf8 StandardCharsets/UTF_8)
    code (byte-array (concat (big-endian code 2)
                             (.getBytes (str reason) StandardCharsets/UTF_8)))
    :else (bytes/to-bytes (or payload ""))))

(defn- length-bytes [n form mask-bit]
  (let [form (or form (cond (< n 126) 7 (< n 65536) 16 :else 64))]
    (case (long form)
      7 [(unchecked-byte (bit-or mask-bit n))]
      16 (cons (unchecked-byte (bit-or mask-bit 126)) (big-endian n 2))
      64 (cons (unchecked-byte (bit-or mask-bit 127)) (big-endian n 8)))))

(defn encode
  "Bytes of one client frame: `op`, `payload` or `utf8` or `code` and `reason`,
  `fin` (true), `rsv` (0), `mask` (true), `len_form`; or `raw` as it is."
  ^bytes [{:strs [op fin rsv mask len_form raw] :or {fin true rsv 0 mask true} :as f}]
  (if raw
    (bytes/to-bytes raw)
    (let [payload (payload-bytes f)
          opcode (long (get opcodes op op))
          out (ByteArrayOutputStream.)]
      (.write out (unchecked-int (bit-or (if fin 0x80 0) (bit-shift-left (long rsv) 4) opcode)))
      (.write out (byte-array (length-bytes (alength payload) len_form (if mask 0x80 0))))
      (when mask (.write out ^bytes mask-key))
      (.write out (if mask (httpkit.golden.frame/mask payload mask-key) payload))
      (.toByteArray out))))

(defn encode-all
  "Bytes of several client frames."
  ^bytes [frames]
  (let [out (ByteArrayOutputStream.)]
    (doseq [f frames] (.write out (encode f)))
    (.toByteArray out)))

(defn- unsigned [^bytes bs from n]
  (reduce (fn [acc i] (bit-or (bit-shift-left (long acc) 8) (bit-and 0xff (aget bs (+ (long from) (long i))))))
          0 (range n)))

(defn- describe [b0 masked? ^bytes payload]
  (let [opcode (bit-and (long b0) 0x0f)
        rsv (bit-and (bit-shift-right (long b0) 4) 7)
        close? (= opcode 8)]
    (cond-> {"op" (get names opcode opcode)}
      (not close?) (assoc "payload" (bytes/shorten payload))
      (and close? (= 1 (alength payload))) (assoc "payload" (bytes/text payload))
      (and close? (< 1 (alength payload)))
      (assoc "code" (unsigned payload 0 2)
             "reason" (String. payload 2 (- (alength payload) 2) StandardCharsets/UTF_8))
      (zero? (bit-and (long b0) 0x80)) (assoc "fin" false)
      (pos? rsv) (assoc "rsv" rsv)
      masked? (assoc "masked" true))))

(defn- read-frame
  "The frame of `bs` at `pos` as `[frame end]`, or nil when it is unfinished."
  [^bytes bs pos]
  (let [pos (long pos)
        available (- (alength bs) pos)]
    (when (<= 2 available)
      (let [b1 (bit-and 0xff (aget bs (inc pos)))
            masked? (pos? (bit-and b1 0x80))
            short-length (bit-and b1 0x7f)
            extended (case short-length 126 2, 127 8, 0)
            header (+ 2 extended (if masked? 4 0))]
        (when (<= header available)
          (let [n (if (zero? extended) short-length (unsigned bs (+ pos 2) extended))
                from (+ pos header)]
            (when (<= 0 n (- (alength bs) from))
              (let [payload (Arrays/copyOfRange bs (int from) (int (+ from n)))
                    payload (if masked?
                              (mask payload (Arrays/copyOfRange bs (int (- from 4)) (int from)))
                              payload)]
                [(describe (aget bs pos) masked? payload) (+ from n)]))))))))

(defn parse
  "The server frames in `bs`; `{\"partial\" n}` for n bytes of an unfinished one."
  [^bytes bs]
  (loop [pos 0, frames []]
    (if (= pos (alength bs))
      frames
      (if-let [[f end] (read-frame bs pos)]
        (recur (long end) (conj frames f))
        (conj frames {"partial" (- (alength bs) pos)})))))
