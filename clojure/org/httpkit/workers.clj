(ns ^:no-doc org.httpkit.workers
  "Worker pools: checks their options, and makes them from a spec. Not API: use `new-worker` of
  `org.httpkit.server`, `.client` or `.utils`."
  (:require
   [org.httpkit.options :as options]
   [org.httpkit.options.server :as tables])
  (:import
   [java.util.concurrent ArrayBlockingQueue BlockingQueue LinkedBlockingQueue
    ThreadPoolExecutor TimeUnit]
   [org.httpkit PrefixThreadFactory VirtualThreads]))

(set! *warn-on-reflection* true)

(defn- n-threads
  "The first of the `given` numbers that is none of nil and false, else `factor` threads
  per core, but at least 2."
  [given n-cores factor]
  (int
   (or (some identity given)
       (max 2 (Math/round (* (double n-cores) (double factor)))))))

(defn- check-sizes! [{:keys [queue queue-size n-min-threads n-max-threads]}]
  (when (and (= :array queue) (nil? queue-size))
    (throw (NullPointerException.
             (str ":queue-size nil: expected an integer from 1 to " Integer/MAX_VALUE " for an :array queue"))))
  (when (< (long n-max-threads) (long n-min-threads))
    (options/refuse! ":n-min-threads " n-min-threads " is more than :n-max-threads " n-max-threads)))

(defn- fixed-spec [internal-opts user-opts n-cores]
  (options/check options/worker user-opts)
  (let [{:keys [default-prefix default-queue-type default-queue-size
                n-min-threads-factor n-max-threads-factor keep-alive-msecs]
         :or   {default-prefix       "http-kit-worker-"
                default-queue-type   :array
                n-min-threads-factor 1
                n-max-threads-factor 1
                keep-alive-msecs     0}} internal-opts
        {:keys [queue-type prefix]} user-opts
        n-both (:n-threads user-opts)
        spec   {:type             :fixed
                :n-cores          n-cores
                :n-min-threads    (n-threads [(:n-min-threads user-opts) n-both] n-cores n-min-threads-factor)
                :n-max-threads    (n-threads [(:n-max-threads user-opts) n-both] n-cores n-max-threads-factor)
                :queue-type       queue-type
                :queue-size       (or (:queue-size user-opts) default-queue-size)
                :queue            (or queue-type default-queue-type)
                :keep-alive-msecs (or (:keep-alive-msecs user-opts) keep-alive-msecs)
                :prefix           (or prefix default-prefix)}]
    (check-sizes! spec)
    spec))

(defn- virtual? [user-opts]
  (and (get user-opts :allow-virtual? true) (VirtualThreads/available)))

(defn spec
  "Describes the pool for these options, see `org.httpkit.utils/new-worker`, without
  making it. Throws the same exceptions.

    {:type :virtual :n-cores _}
    {:type :fixed :n-cores _ :n-min-threads _ :n-max-threads _ :queue-type _ :queue-size _
     :queue _            ; `:array` or `:linked`; `:queue-type` is as requested
     :keep-alive-msecs _ :prefix _}"
  [internal-opts user-opts]
  (let [n-cores (.availableProcessors (Runtime/getRuntime))]
    (if (virtual? user-opts)
      {:type :virtual :n-cores n-cores}
      (fixed-spec internal-opts user-opts n-cores))))

(defn- new-queue ^BlockingQueue [{:keys [queue queue-size]}]
  (case queue
    :array  (ArrayBlockingQueue. (int queue-size))
    :linked (if queue-size
              (LinkedBlockingQueue. (int queue-size))
              (LinkedBlockingQueue.))))

(defn worker
  "The result of `new-worker` for a spec."
  [{:keys [type n-min-threads n-max-threads keep-alive-msecs ^String prefix] :as spec}]
  (if (= type :virtual)
    (assoc spec :pool (VirtualThreads/newExecutor))
    (let [queue (new-queue spec)]
      (-> spec
        (dissoc :keep-alive-msecs :prefix)
        (assoc :queue queue
               :pool  (ThreadPoolExecutor. (int n-min-threads) (int n-max-threads)
                        (long keep-alive-msecs) TimeUnit/MILLISECONDS queue
                        (PrefixThreadFactory. prefix)))))))

;;;; Of a server

(def server-prefix "http-kit-server-worker-")

(def ^:private server-defaults
  {:default-prefix       server-prefix
   :default-queue-type   :array
   :default-queue-size   20480
   :n-max-threads-factor 16})

(defn- with-alias
  "The old option `alias` counts as `k` unless `k` is present, even if nil."
  [opts k alias]
  (if (and (contains? opts alias) (not (contains? opts k)))
    (assoc opts k (get opts alias))
    opts))

(defn server-spec
  "The `spec` for options of the server's `new-worker`."
  [opts]
  ;; Sizes of virtual threads are without effect, and not looked at.
  (when-not (virtual? opts)
    (options/check tables/server-worker opts))
  (spec server-defaults
    (-> opts
      (with-alias :n-threads :thread)
      (with-alias :prefix    :worker-name-prefix))))
