(ns ^:no-doc org.httpkit.ranges
  "Parts of files, and ranges (RFC 9110 14): what of a response goes to a request with `Range`.
  Not API: use `file-part` and `wrap-range` of `org.httpkit.server`."
  (:require
   [clojure.string      :as str]
   [org.httpkit.headers :as headers]
   [org.httpkit.options :as options])
  (:import
   [java.io File]
   [java.nio.file Path]
   [org.httpkit FilePart]
   [org.httpkit.server AsyncChannel]))

(set! *warn-on-reflection* true)

(defn- whole ^long [what v]
  (if (and (integer? v) (<= Long/MIN_VALUE v Long/MAX_VALUE))
    (long v)
    (options/refuse! what " " (options/shown v) " of file-part: expected an integer of at most 63 bits")))

(defn file-part
  "See `org.httpkit.server/file-part`."
  [file offset length]
  (FilePart. (cond
               (instance? File file)   file
               (instance? Path file)   (.toFile ^Path file)
               (string? file)          (File. ^String file)
               :else (options/refuse! "file-part of " (options/shown-alone file)
                       ": expected a File, a Path or a String"))
             (whole "offset" offset) (whole "length" length)))

(defn- number
  "Of digits, however many."
  [digits]
  (let [digits (str/replace digits #"^0+(?=\d)" "")]
    (if (< 18 (count digits)) Long/MAX_VALUE (Long/parseLong digits))))

(defn part-of
  "[offset length] of the bytes that a `Range` value asks for, of a file of `n` bytes;
  `:unsatisfiable` if it has none of them, nil if the value is not one range of bytes
  and so is ignored (RFC 9110 14.1.2, 14.2)."
  [range-value n]
  (when-let [[_ from to] (re-matches #"(?i)bytes=[ \t]*(\d*)-(\d*)[ \t]*" range-value)]
    (let [n    (long n)
          from (when (seq from) (number from))
          to   (when (seq to) (number to))]
      (cond
        (not (or from to))          nil
        (and from to (< to from))   nil
        from                        (if (< from n)
                                      [from (inc (- (min (or to Long/MAX_VALUE) (dec n)) from))]
                                      :unsatisfiable)
        (or (zero? to) (zero? n))   :unsatisfiable
        :else                       [(max 0 (- n to)) (min n to)]))))

(defn- current?
  "Whether what the client has a part of is what is sent: `If-Range` (RFC 9110 13.1.5)
  is a strong ETag or a date, and the same as that of the response."
  [request response]
  (let [given (get-in request [:headers "if-range"])]
    (or (nil? given)
        (= given (headers/value-of (:headers response)
                                   (if (str/starts-with? given "\"") "etag" "last-modified"))))))

(defn- divisible?
  "Whether parts of this response may be sent."
  [request {:keys [status body] :as response}]
  (and (instance? File body)
       (#{:get :head} (:request-method request))
       (or (nil? status) (= 200 status))
       (not (headers/has? (:headers response) "content-range"))
       (not= "none" (headers/value-of (:headers response) "accept-ranges"))
       (.isFile ^File body)))

(defn- compressed?
  "Whether the whole file is compressed for this client: it may have a part of that, which
  a part of the file does not continue."
  [request response n]
  (let [ch (:async-channel request)]
    (and (instance? AsyncChannel ch)
         (.compressesFile ^AsyncChannel ch response (long n)))))

(defn- divided [response part n]
  (let [headers #(headers/with (headers/without (:headers response) %1) "Content-Range" (str "bytes " %2 "/" n))]
    (if (= :unsatisfiable part)
      (assoc response :status 416 :headers (headers #{"content-length" "content-type"} "*") :body nil)
      (let [[offset length] part]
        (assoc response
               :status  206
               :headers (headers #{"content-length"} (str offset "-" (dec (+ (long offset) (long length)))))
               :body    (FilePart. (:body response) offset length))))))

(defn- ranged
  "The response that `request` gets: the whole of a file, a part of it, or 416."
  [request response]
  (if-not (and (map? response) (divisible? request response))
    response
    (let [n        (.length ^File (:body response))
          asked    (when (= :get (:request-method request)) (get-in request [:headers "range"]))
          part     (when (and asked (current? request response) (not (compressed? request response n)))
                     (part-of asked n))
          response (update response :headers headers/with "Accept-Ranges" "bytes")]
      (if part (divided response part n) response))))

(defn- response
  "As `ranged`. A response that cannot be examined stays as it is, and the server says what is wrong with it: what is
  thrown where an asynchronous handler responds may be lost."
  [request response]
  (try (ranged request response)
       (catch Exception _ response)))

(defn wrap
  "See `org.httpkit.server/wrap-range`."
  [handler]
  (fn
    ([request] (response request (handler request)))
    ([request respond raise] (handler request #(respond (response request %)) raise))))
